"""The search of a study for the weight of auxiliary losses: equally many values for each, judged on held-out pairs.

A loss is compared fairly only at its best weight. Each value is trained at one seed, or at every one; the value whose
restored images of the held-out pairs have the highest mean PSNR is what the arm `ARM-tuned` trains with, a row of its
own beside `ARM`. No test image has a part in it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from framer.config_file import Name, Strict
from framer.errors import UserError, unknown
from framer.method.recipe import Recipe
from framer.study.arms import ArmConfig, ChosenRecipe, Distinct, chosen
from framer.study.sweeps import model_identity, slug, trained_arms

JUDGE = "psnr"
"""The metric of the study's first protocol that chooses; higher is better."""


def _increasing(values: list[float]) -> list[float]:
    for low, high in pairwise(values):
        if low >= high:
            raise ValueError(f"{high:g} stands after {low:g}; list increasing values")
    return values


class TuneConfig(Strict):
    """Which weights of which arms are tried, and on what they are judged."""

    weight: Annotated[
        list[Annotated[float, Field(gt=0)]],
        Field(min_length=2, description="values of the recipe's weight, tried for each arm"),
        AfterValidator(_increasing),
    ]
    by: Name = Field(description="a paired set of photographs that nothing is trained or tested on")
    seeds: Literal["once", "each"] = Field(
        "once", description="once: search at the first training seed, for all of them; each: at every one"
    )
    arms: Distinct = Field(
        description="trained arms with an auxiliary loss; each has a second row, ARM-tuned, at all seeds"
    )


@dataclass(frozen=True)
class Search:
    """The search of one tuned arm.

    Attributes:
        of: the arm whose weight is searched.
        values: the arm that trains with each value, in increasing order.
        seeds: at which the weight is chosen; a tuned run of another seed takes the choice of the first.
        complete: at which all values are trained, so that a tuned run is the chosen one of them.
    """

    of: str
    values: dict[float, str]
    seeds: tuple[int, ...]
    complete: tuple[int, ...]


def searches(
    config: TuneConfig,
    arms: Mapping[str, ArmConfig],
    settings: Mapping[str, dict[str, Any]],
    seeds: Sequence[int],
) -> tuple[dict[str, Search], dict[str, ArmConfig], dict[str, ArmConfig]]:
    """The searches of a study; a value that an arm has already, by value and at these seeds, is not trained again.

    Args:
        config: of the study.
        arms: those of the study, by name, with the points of its sweeps.
        settings: of each backbone.
        seeds: training seeds of the study; tuned arms have all of them, whatever seeds the arm itself has.

    Returns:
        The searches by the name of the tuned arm; the tuned arms; and the arms that only a search trains, which restore
        no test set.

    Raises:
        UserError: an arm is not trained, has no auxiliary loss, or a name is taken; the key is below `tune`.
    """
    trained = trained_arms(arms, settings)
    at = tuple(seeds if config.seeds == "each" else seeds[:1])
    found: dict[str, Search] = {}
    tuned: dict[str, ArmConfig] = {}
    tried: dict[str, ArmConfig] = {}
    for name in config.arms:
        if name not in trained:
            raise UserError(unknown("trained arm", name, trained), key="tune.arms", code="unknown")
        of, own = trained[name], f"{name}-tuned"
        if of.recipe is None or of.recipe.recipe.objective == "none":
            raise UserError(f"{name} has no auxiliary loss; name an arm with a recipe that has one", key="tune.arms")
        known = {
            model_identity(arm, settings): other
            for other, arm in reversed((trained | tried).items())
            if {*at} <= {*(arm.seeds or seeds)}
        }
        values = {}
        for value in config.weight:
            recipe = _weighed(of.recipe, value)
            label = f"{of.label}: weight = {value:g}"
            arm = of.model_copy(update={"label": label, "recipe": recipe, "sets": [], "seeds": [*at]})
            same = known.get(model_identity(arm, settings))
            if same is None:
                same = f"{name}-{slug('weight', value)}"
                if same in tried:
                    raise UserError(f"{value!r} differs too little from another value", key="tune.weight")
                tried[same] = arm
            values[value] = same
        if taken := sorted(arms.keys() & {own, *tried}):
            raise UserError(f"{taken[0]} is the name of a row of the search; rename the arm", key=f"arms.{taken[0]}")
        having = [(trained | tried)[arm].seeds or seeds for arm in values.values()]
        found[own] = Search(name, values, at, tuple(seed for seed in seeds if all(seed in one for one in having)))
        changed = {"label": f"{of.label}, tuned", "recipe": _open(of.recipe), "seeds": None}
        tuned[own] = of.model_copy(update=changed)
    return found, tuned, tried


def _base(recipe: ChosenRecipe) -> str:
    return recipe.name.partition(" (")[0]


def _weighed(recipe: ChosenRecipe, weight: float) -> ChosenRecipe:
    return chosen({"base": _base(recipe), **asdict(recipe.recipe), "weight": weight})


def _open(recipe: ChosenRecipe) -> ChosenRecipe:
    """A recipe whose weight is not chosen yet; that of the named reading holds its place."""
    plain = _weighed(recipe, Recipe.named(_base(recipe)).weight)
    name = f"{plain.name[:-1]}, " if plain.name.endswith(")") else f"{plain.name} ("
    return ChosenRecipe(f"{name}weight tuned)", plain.recipe)


def read_choice(path: Path, how: str) -> float:
    """The weight that `framer tune` chose.

    Args:
        path: its file.
        how: the command that makes it.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["weight"])
    except FileNotFoundError:
        raise UserError(f"the weight is not chosen yet; run: {how}", path=path, code="missing") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"no choice of a weight; delete it and run: {how}", path=path, code="unreadable") from None
