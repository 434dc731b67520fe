"""Sweeps of a study file: one field of an arm over several values, each an arm of its own or one that is there."""

import re
from collections.abc import Container, Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from framer.backbones.registry import settings_of
from framer.config_file import Name, Strict
from framer.errors import UserError, unknown
from framer.method.recipe import Recipe
from framer.study.arms import ALIASES, ArmConfig, chosen, distinct


class SweepConfig(Strict):
    """Which field of which arm, and its values."""

    of: Name
    key: str
    values: Annotated[list[int | float], Field(min_length=2)]

    def changed(self, arm: ArmConfig, value: float) -> dict[str, Any]:
        """The keys of the arm in which the one with a value differs from it.

        Raises:
            UserError: the arm has no recipe, or the recipe refuses the value.
        """
        part, _, name = self.key.partition(".")
        if part == "recipe":
            assert arm.recipe is not None
            base = arm.recipe.name.partition(" (")[0]
            try:
                return {"recipe": chosen({"base": base, **asdict(arm.recipe.recipe), name: value})}
            except ValueError as error:
                raise UserError(str(error), key=self.key) from None
        settings: Any = value
        for one in reversed(name.split(".")):
            settings = {one: settings}
        return {"settings": merged(arm.settings, settings)}


def _read(given: Any) -> Any:
    """`{of: ARM, recipe.FIELD: [...]}` as the fields of `SweepConfig`."""
    if isinstance(given, SweepConfig) or not isinstance(given, Mapping):
        return given
    swept = [key for key in given if key != "of"]
    if len(swept) != 1 or not re.match(r"(recipe|settings)\..", str(swept[0])):
        raise ValueError("name one field, as in recipe.cutoff: [0.1, 0.2] or settings.lpips: [1, 2]")
    (key,) = swept
    part, _, name = key.partition(".")
    values = given[key]
    distinct(values if isinstance(values, list) else [])
    return {"of": given.get("of"), "key": f"{part}.{ALIASES.get(name, name)}", "values": values}


Sweep = Annotated[
    SweepConfig,
    BeforeValidator(_read),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"of": {"type": "string"}},
            "patternProperties": {
                r"^(recipe|settings)\..+$": {"type": "array", "items": {"type": "number"}, "minItems": 2}
            },
            "required": ["of"],
            "additionalProperties": False,
        }
    ),
]


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, the second over the first, key by key."""
    both = {
        key: merged(low[key], high[key])
        for key in low.keys() & high.keys()
        if isinstance(low[key], Mapping) and isinstance(high[key], Mapping)
    }
    return {**low, **high, **both}


def trained_arms(arms: Mapping[str, ArmConfig], backbones: Container[str]) -> dict[str, ArmConfig]:
    """Those of some arms that the study trains from a base."""
    return {
        name: arm
        for name, arm in arms.items()
        if arm.backbone in backbones and not (arm.checkpoint or arm.untrained or arm.of)
    }


def model_identity(arm: ArmConfig, settings: Mapping[str, dict[str, Any]]) -> Any:
    """What two arms share whose models are the same, seed by seed; `settings` are those of each backbone.

    Raises:
        UserError: settings and recipe do not go together.
    """
    own, recipe = settings_of(str(arm.backbone), settings[str(arm.backbone)], arm.settings), arm.recipe
    if recipe:
        own.check(recipe.recipe)
    return arm.backbone, recipe and recipe.recipe, own.model_dump_json()


def slug(field: str, value: float) -> str:
    """The part of an arm's name that stands for a value: `cutoff_0_1`."""
    return re.sub(r"[^a-z0-9]+", "_", f"{field}_{value:g}".lower()).strip("_")


def points(
    sweeps: Mapping[str, SweepConfig], arms: Mapping[str, ArmConfig], settings: Mapping[str, dict[str, Any]]
) -> tuple[dict[str, dict[float, str]], dict[str, ArmConfig]]:
    """The arm of each value of each sweep, and those of them that are new.

    An arm that would be the same as one that is there, by value, is that one: its runs are shared. What only restoring
    reads trains nothing: such arms restore with the model of the swept one.

    Args:
        sweeps: by name.
        arms: those of the study, by name; the first of several that are the same is shared.
        settings: of each backbone.

    Raises:
        UserError: the arm or the field does not exist or is no number; the key is `sweeps.NAME` and what is below it.
    """

    def identity(arm: ArmConfig) -> Any:
        return model_identity(arm, settings), str(arm.sets), str(arm.seeds)

    trained = trained_arms(arms, settings)
    known: dict[Any, str] = {}
    for name, arm in trained.items():
        known.setdefault(identity(arm), name)
    found: dict[str, dict[float, str]] = {}
    new: dict[str, ArmConfig] = {}
    for name, sweep in sweeps.items():
        if sweep.of not in trained:
            raise UserError(unknown("trained arm", sweep.of, trained), key=f"sweeps.{name}.of", code="unknown")
        of = trained[sweep.of]
        _check(name, sweep, of, settings[str(of.backbone)])
        field = sweep.key.partition(".")[2]
        for value in sweep.values:
            try:
                arm = of.model_copy(update={"label": f"{of.label}: {field} = {value:g}", **sweep.changed(of, value)})
                own = identity(arm)
            except UserError as error:
                message = error.message.removeprefix(f"{field.rpartition('.')[2]}: ")
                raise UserError(message, key=f"sweeps.{name}.{sweep.key}", code=error.code) from None
            if own not in known:
                known[own] = f"{sweep.of}-{slug(field, value)}"
                if known[own] in arms or known[own] in new:
                    taken = f"{value:g}: {known[own]} is the name of another arm; rename that arm, or use another value"
                    raise UserError(taken, key=f"sweeps.{name}.{sweep.key}", code="conflict")
            at = known[own]
            if at not in arms:
                restored = {"label": arm.label, "of": sweep.of, "settings": arm.settings, "sets": of.sets}
                new[at] = ArmConfig.model_validate(restored) if sweep.key.startswith("settings.restore.") else arm
            found.setdefault(name, {})[value] = at
    return found, new


def _check(name: str, sweep: SweepConfig, of: ArmConfig, settings: dict[str, Any]) -> None:
    """Refuse a field that does not exist or holds no number."""
    part, *names = sweep.key.split(".")
    key = f"sweeps.{name}.{sweep.key}"
    if part == "recipe":
        if of.recipe is None:
            raise UserError(f"{sweep.of} has no recipe; name an arm with one", key=key)
        values: Any = asdict(of.recipe.recipe)
        known = [field.name for field in fields(Recipe) if _number(values[field.name])]
    else:
        values = settings_of(str(of.backbone), settings, of.settings).model_dump()
        known = list(_numbers(values))
    if ".".join(names) not in known:
        raise UserError(unknown("numeric field", ".".join(names), known), key=key, code="unknown")


def _numbers(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}.")
        elif _number(value):
            found.append(f"{prefix}{key}")
    return found


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
