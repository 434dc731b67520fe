"""Recipes: what each name stands for, and that nothing else is in it."""

import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, fields, replace
from pathlib import Path

import pytest

import framer
import framer.method
from framer import Recipe
from framer.backbones.registry import settings_of
from framer.backbones.settings import Settings
from framer.errors import UserError
from framer.method.loss import FramerLoss
from framer.method.recipe import LATER
from framer.method.recipes import ABLATIONS, RELEASED


class RestoreOnly(Settings):
    """A backbone of another package, as it is without a word about the truth."""


def differences(name):
    paper, other = asdict(Recipe.named("paper")), asdict(Recipe.named(name))
    return {key: value for key, value in other.items() if paper[key] != value}


def test_names_are_unique_and_all_can_be_made():
    names = Recipe.names()
    assert names[:2] == ("paper", "released")
    assert len(set(names)) == len(names)
    assert len({Recipe.named(name) for name in names}) == len(names), "two names for one recipe"


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_from_the_paper_in_its_named_fields_only(name):
    assert differences(name) == ABLATIONS[name]


def test_the_released_code_is_the_sum_of_its_differences():
    assert differences("released") == RELEASED
    single = [changed for changed in ABLATIONS.values() if changed.items() <= RELEASED.items()]
    merged = {key: value for changed in single for key, value in changed.items()}
    assert merged == RELEASED, "each difference is an ablation of its own"


def test_the_values_that_the_sources_state():
    """Typed off from the sources, not from the code."""
    paper, released = Recipe.named("paper"), Recipe.named("released")
    assert (paper.masks, released.masks) == ("radial", "quantile")
    assert (paper.reduction, paper.weight) == ("sum", 1.0)
    assert (released.reduction, released.weight) == ("mean", 0.1)
    assert (paper.keys, released.keys) == ("teachers", "teachers+negatives")
    assert (paper.students, released.students) == ("others", "all")
    for recipe in (paper, released):
        assert (recipe.objective, recipe.teacher, recipe.low, recipe.high) == ("contrastive", "final", "intra", "inter")
        assert recipe.faw and recipe.fam and recipe.fam_relu and recipe.fam_stop and recipe.stop_negatives
        assert (recipe.cutoff, recipe.temperature, recipe.feature, recipe.space) == (0.2, 1.0, "magnitude", "x0")
        assert (recipe.discrepancy, recipe.negatives) == ("student", "other")


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (("objective",), {("none",), ("l2",), ("contrastive",)}),
        (("teacher", "negatives"), {(t, n) for t in ("final", "middle") for n in ("other", "none")}),
        (("low", "high"), {(a, b) for a in ("intra", "inter") for b in ("intra", "inter")}),
        (("faw", "fam"), {(a, b) for a in (True, False) for b in (True, False)}),
    ],
)
def test_the_ablation_grid_is_complete(table, rows):
    """Tables 2 to 5: every combination is a named recipe that changes nothing but these fields."""
    there = set()
    for name in Recipe.names():
        if set(differences(name)) <= set(table):
            recipe = Recipe.named(name)
            there.add(tuple(getattr(recipe, field) for field in table))
    assert there >= rows
    assert {row for row in there if "earlier" not in row} == rows


def test_every_silent_field_is_an_ablation_axis():
    axes = {key for changed in ABLATIONS.values() if len(changed) == 1 for key in changed}
    assert {"cutoff", "feature", "space", "temperature"} <= axes


def test_recipes_are_frozen_and_hashable():
    recipe = Recipe.named("paper")
    with pytest.raises(FrozenInstanceError):
        recipe.cutoff = 0.3
    assert hash(recipe) == hash(replace(recipe)) and recipe == replace(recipe)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("objective", "l1"),
        ("teacher", "first"),
        ("teacher", True),
        ("teacher", 1.5),
        ("masks", "square"),
        ("cutoff", 0.0),
        ("cutoff", 1.0),
        ("cutoff", float("nan")),
        ("cutoff", ()),
        ("cutoff", (0.2, 0.2)),
        ("cutoff", (0.5, 0.2)),
        ("middle", ("l2",)),
        ("middle", ["inter"]),
        ("edge", -0.1),
        ("edge", 0.5),
        ("temperature", 0.0),
        ("temperature", float("inf")),
        ("weight", -0.1),
        ("weight", "0.1"),
        ("faw", "yes"),
        ("fam_stop", 1),
        ("negatives", None),
    ],
)
def test_a_wrong_value_names_its_field(field, value):
    with pytest.raises(UserError) as error:
        Recipe(**{field: value})
    assert (error.value.key, error.value.code) == (f"recipe.{field}", "invalid")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UserError, match=r"unknown recipe 'reelased', did you mean 'released'\? known: paper, released, noise_only"
    ):
        Recipe.named("reelased")


def test_only_backbones_that_give_the_truth_take_it_as_the_teacher():
    with pytest.raises(UserError) as error:
        RestoreOnly().check(Recipe(teacher="truth"))
    assert (error.value.key, error.value.code) == ("recipe.teacher", "conflict")
    RestoreOnly().check(Recipe(teacher="middle"))
    for backbone in ("pisa_sr", "dit4sr"):
        settings_of(backbone).check(Recipe(teacher="truth"))


def test_fields_that_came_later_are_no_part_of_older_recipes():
    """By value: a card or a job of before them stays what it was."""
    for name in Recipe.names():
        assert not LATER.keys() & Recipe.named(name).as_dict().keys()
    other = Recipe(edge=0.1, cutoff=(0.2, 0.5), middle=("inter",))
    assert other.as_dict() == Recipe().as_dict() | {"edge": 0.1, "cutoff": (0.2, 0.5), "middle": ("inter",)}
    assert Recipe(**other.as_dict()) == other


def test_every_field_is_documented():
    source = Path(sys.modules["framer.method.recipe"].__file__).read_text(encoding="utf-8")
    for field in fields(Recipe):
        after = source.split(f"\n    {field.name}: ", 1)[1].split("\n", 2)[1]
        assert after.startswith('    """'), field.name


def test_importing_the_package_and_its_recipes_leaves_torch_alone():
    code = "import sys, framer; from framer import Recipe; Recipe.named('paper'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_exported_name_is_there():
    for module in (framer, framer.method):
        assert all(getattr(module, name) is not None for name in module.__all__)
        assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=r"'framer\.method' has no attribute 'Loss'"):
        framer.method.Loss  # noqa: B018


def test_bands_have_names_and_losses_from_low_to_high():
    recipe = Recipe(cutoff=(0.1, 0.2, 0.4), middle=("inter", "intra"))
    assert list(recipe.terms.items()) == [
        ("low", "intra"),
        ("middle1", "inter"),
        ("middle2", "intra"),
        ("high", "inter"),
    ]
    assert Recipe(cutoff=(0.2,)) == Recipe()
    with pytest.raises(UserError) as error:
        Recipe(cutoff=(0.1, 0.2))
    assert (error.value.key, error.value.code) == ("recipe.middle", "mismatch")


def test_a_recipe_whose_loss_is_always_zero_is_refused():
    with pytest.raises(UserError) as error:
        Recipe(high="intra", negatives="none")
    assert (error.value.key, error.value.code) == ("recipe.negatives", "conflict")


def test_a_name_is_no_recipe():
    with pytest.raises(UserError, match=r"'paper' is not a Recipe; pass Recipe.named"):
        FramerLoss("paper")
    assert "objective='contrastive'" in repr(FramerLoss(Recipe.named("paper")))
