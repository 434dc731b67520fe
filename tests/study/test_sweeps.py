"""Sweeps: each value an arm, and runs that exist are shared."""

from pathlib import Path

import pytest
import yaml

from framer.errors import UserError
from framer.study.study import Study
from tests.fixtures.clone import ROOT

OF = "pisa_sr-framer"


def study(folder: Path, **sweeps: object) -> Study:
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    config["ablations"] = {"pisa_sr": {"recipes": [{"base": "released", "cutoff": 0.4}]}}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(config | {"sweeps": sweeps}, sort_keys=False))
    return Study.load(path, ROOT / "datasets")


def test_values_are_arms_and_those_that_exist_are_shared(tmp_path: Path) -> None:
    mine, plain = study(tmp_path, cutoff={"of": OF, "recipe.cutoff": [0.4, 0.05, 0.2]}), study(tmp_path)
    ablation = "pisa_sr-released_cutoff_0_4"
    assert mine.sweeps == {"cutoff": {0.4: ablation, 0.05: f"{OF}-cutoff_0_05", 0.2: OF}}
    assert set(mine.rows) - set(plain.rows) == {f"{OF}-cutoff_0_05-s0"}
    assert {run: mine.train_job(run).digest for run in plain.runs} == {r: plain.train_job(r).digest for r in plain.runs}
    job = mine.train_job(f"{OF}-cutoff_0_05-s0")
    assert job.recipe is not None and job.recipe.cutoff == 0.05
    assert mine.differences(f"{OF}-cutoff_0_05", OF) == []


def test_settings_are_swept_and_two_sweeps_share_a_value(tmp_path: Path) -> None:
    values = {"of": OF, "settings.csd": [1, 2]}
    mine = study(tmp_path, one=values, other=values, weight={"of": OF, "recipe.lambda": [0.1, 1]})
    assert mine.sweeps["one"] == mine.sweeps["other"] == {1: OF, 2: f"{OF}-csd_2"}
    assert mine.train_job(f"{OF}-csd_2-s0").settings["csd"] == 2
    assert mine.sweeps["weight"] == {0.1: OF, 1: f"{OF}-weight_1"}


def test_what_only_restoring_reads_trains_nothing(tmp_path: Path) -> None:
    mine = study(tmp_path, steps={"of": "dit4sr-framer", "settings.restore.steps": [4, 5]})
    row = "dit4sr-framer-restore_steps_5-s0"
    assert mine.sweeps == {"steps": {4: "dit4sr-framer", 5: "dit4sr-framer-restore_steps_5"}}
    assert mine.runs == study(tmp_path).runs and mine.rows[row].run == "dit4sr-framer-s0"
    plain = mine.restore_job("dit4sr-framer-s0").settings
    assert mine.restore_job(row).settings == plain | {"steps": 5} and plain["steps"] == 4


def test_fields_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """What is restored with another factor is not what is trained with it."""
    sweeps = {
        "restoring": {"of": "dit4sr-framer", "settings.restore.injection_scale": [0.5, 1.2]},
        "training": {"of": "dit4sr-framer", "settings.injection_scale": [0.5, 1.0]},
    }
    mine = study(tmp_path, **sweeps)
    restored, trained = mine.sweeps["restoring"][0.5], mine.sweeps["training"][0.5]
    assert (restored, trained) == ("dit4sr-framer-restore_injection_scale_0_5", "dit4sr-framer-injection_scale_0_5")
    assert mine.rows[f"{restored}-s0"].run == "dit4sr-framer-s0"
    assert mine.train_job(f"{trained}-s0").settings["injection_scale"] == 0.5


def test_a_name_that_another_arm_has_is_refused(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    config["ablations"] = {"pisa_sr": {"recipes": ["cutoff_0.1"]}}
    config["arms"]["pisa_sr"] = config["arms"].pop(OF)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config | {"sweeps": {"x": {"of": "pisa_sr", "recipe.cutoff": [0.1, 0.3]}}}))
    with pytest.raises(UserError) as error:
        Study.load(path, ROOT / "datasets")
    assert "sweeps.x.recipe.cutoff: 0.1: pisa_sr-cutoff_0_1 is the name of another arm" in str(error.value)


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        (
            {"of": OF, "recipe.cutof": [1, 2]},
            "sweeps.x.recipe.cutof: unknown numeric field 'cutof', did you mean 'cutoff'",
        ),
        ({"of": OF, "recipe.faw": [0, 1]}, "sweeps.x.recipe.faw: unknown numeric field 'faw'"),
        ({"of": OF, "recipe.cutoff": [0.1, 2]}, "sweeps.x.recipe.cutoff: 2.0 is not between 0 and 1"),
        ({"of": OF, "settings.lpisp": [1, 2]}, "sweeps.x.settings.lpisp: unknown numeric field 'lpisp'"),
        ({"of": OF, "settings.lpips": [1, -2]}, "sweeps.x.settings.lpips: "),
        ({"of": "x", "recipe.cutoff": [0.1, 0.2]}, "sweeps.x.of: unknown trained arm 'x'"),
        ({"of": "pisa_sr-baseline", "recipe.cutoff": [0.1, 0.2]}, "pisa_sr-baseline has no recipe"),
        ({"of": OF, "cutoff": [0.1, 0.2]}, "sweeps.x: name one field"),
        ({"of": OF, "recipe.cutoff": [0.1, 0.1]}, "sweeps.x: 0.1 is there twice"),
        ({"of": OF, "recipe.cutoff": [0.1]}, "sweeps.x.values: "),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, sweep: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as error:
        study(tmp_path, x=sweep)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ") and words in message and "\n" not in message
