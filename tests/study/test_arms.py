"""Recipes in a study file: a name, or fields over those of a named recipe."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from framer.errors import UserError
from framer.method import Recipe
from framer.study.arms import chosen
from framer.study.study import Study
from tests.fixtures.clone import ROOT

ARM = "pisa_sr-framer"
RUN = f"{ARM}-s0"


def study(folder: Path, recipe: object, ablations: object = None) -> Study:
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    config["arms"][ARM]["recipe"] = recipe
    if ablations:
        config["ablations"] = {"pisa_sr": {"recipes": ablations}}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return Study.load(path, ROOT / "datasets")


@pytest.mark.parametrize("name", Recipe.names())
def test_a_name_and_the_same_by_its_fields_are_one(name: str) -> None:
    recipe = Recipe.named(name)
    assert chosen(name) == chosen({"base": "paper", **asdict(recipe)}) == chosen(chosen(name))
    assert (chosen(name).name, chosen(name).recipe) == (name, recipe)


@pytest.mark.parametrize("key", ["weight", "lambda"])
def test_a_mapping_changes_fields_of_its_base(tmp_path: Path, key: str) -> None:
    mine, named = study(tmp_path, {"base": "released", key: 0.3}), study(tmp_path, "released")
    job = mine.train_job(RUN)
    assert job.recipe == replace(Recipe.named("released"), weight=0.3)
    assert job.as_dict()["recipe"] == job.recipe.as_dict()
    assert replace(job, recipe=Recipe.named("released")) == named.train_job(RUN), "nothing else of the job changes"
    assert mine.arms[ARM].title.endswith(": released (weight=0.3)")
    assert named.arms[ARM].title == named.arms[ARM].label


def test_a_number_is_one_however_it_is_written() -> None:
    assert repr(chosen({"base": "released", "lambda": 2})) == repr(chosen({"base": "released", "weight": 2.0}))


def test_ablations_take_mappings(tmp_path: Path) -> None:
    mine = study(tmp_path, "released", ["l2", {"base": "paper", "weight": 0.3, "faw": False}])
    name = "pisa_sr-paper_faw_false_weight_0_3"
    assert {"pisa_sr-l2", name} == mine.ablation_arms
    assert mine.train_job(f"{name}-s0").recipe == replace(Recipe(), faw=False, weight=0.3)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("papr", ["unknown recipe 'papr', did you mean 'paper'"]),
        ({"base": "papr"}, ["unknown recipe 'papr'"]),
        ({"weight": 0.3}, ["{base: NAME, FIELD: VALUE}"]),
        ({"base": "paper", "wieght": 0.3}, ["'wieght'", "did you mean 'weight'"]),
        ({"base": "paper", "weight": 0.3, "lambda": 0.2}, ["weight is given twice"]),
        ({"base": "paper", "cutoff": [0.4, 0.2], "middle": ["inter"]}, ["cutoff: (0.4, 0.2) is not increasing"]),
        ({"base": "paper", "cutoff": [0.2, 0.4]}, ["middle: name a loss of each band"]),
        ({"base": "paper", "cutoff": 2}, ["cutoff: 2.0 is not between 0 and 1"]),
        ({"base": "paper", "faw": 1}, ["faw: 1 is not true or false"]),
        (3, ["{base: NAME, FIELD: VALUE}"]),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, recipe: object, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        study(tmp_path, recipe)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: arms.{ARM}.recipe: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_two_ablations_cannot_share_a_name(tmp_path: Path) -> None:
    twins = [{"base": "paper", "cutoff": 0.35}, {"base": "paper", "cutoff": 0.35, "faw": True}]
    assert len(study(tmp_path, "paper", twins).ablation_arms) == 1
    with pytest.raises(UserError, match=r"ablations\.pisa_sr\.recipes: 'paper_teacher_1' is there twice"):
        study(tmp_path, "paper", [{"base": "paper", "teacher": 1}, {"base": "paper", "teacher": -1}])


@pytest.mark.parametrize("label", ["Bicubic", "HR"])
def test_rows_have_labels_of_their_own(tmp_path: Path, label: str) -> None:
    """The report finds pictures and scores by them."""
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    config["arms"]["pisa_sr-framer"]["label"] = label
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(UserError) as error:
        Study.load(path, ROOT / "datasets")
    assert f"arms.pisa_sr-framer.label: {label!r} is the label of" in str(error.value)
