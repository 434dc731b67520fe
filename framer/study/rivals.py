"""An optional part of a study: more arms, with their sweeps and searches, made only where they are asked for.

A study without the option is as if the part were not there: it has the same rows, jobs and digests. With it, all of its
own runs are those that it has without.
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field

from framer.config_file import Name, Strict
from framer.study.arms import ArmConfig, Distinct
from framer.study.sweeps import Sweep
from framer.study.tuning import TuneConfig

_Config = TypeVar("_Config", bound=BaseModel)


class RivalsConfig(Strict):
    """What the option adds to a study, by the same keys."""

    arms: dict[Name, ArmConfig] = Field(min_length=1)
    sweeps: dict[Name, Sweep] = Field(default={})
    tune: TuneConfig | None = None
    compare: list[Annotated[Distinct, Field(min_length=2, max_length=2)]] = Field(default=[])


def with_rivals(config: _Config) -> _Config:
    """A study with its optional part as if it were all one; one without that part as it is.

    Args:
        config: a `StudyConfig`.

    Raises:
        ValidationError: the two do not fit together.
        ValueError: both have something of one name.
    """
    given: dict[str, Any] = {name: getattr(config, name) for name in type(config).model_fields}
    rivals: RivalsConfig | None = given.pop("rivals")
    if rivals is None:
        return config
    for part in ("arms", "sweeps"):
        ours, theirs = given[part], getattr(rivals, part)
        if both := sorted(ours.keys() & theirs.keys()):
            raise ValueError(f"rivals.{part}.{both[0]}: the study has one of this name; rename one of them")
        given[part] = {**ours, **theirs}
    if rivals.tune and given["tune"]:
        raise ValueError("rivals.tune: the study has a search of its own; name all arms in one of them")
    given["tune"] = rivals.tune or given["tune"]
    given["compare"] = [*given["compare"], *rivals.compare]
    return type(config).model_validate(given)
