"""What a study declares of its analyses, without a model at hand."""

from pathlib import Path

import pytest
import yaml

from framer.errors import UserError
from framer.study.analysis_jobs import analyse_job, analysed, cost_job, figures
from framer.study.study import Study
from tests.fixtures.clone import ROOT

ARMS = {
    "bicubic": {"label": "Bicubic"},
    "ours": {"label": "Ours", "backbone": "dit4sr", "recipe": "paper"},
    "base": {"label": "Base", "backbone": "dit4sr"},
    "faw": {"label": "Without FAM", "backbone": "dit4sr", "recipe": "no_fam"},
    "other": {"label": "Released", "backbone": "dit4sr", "recipe": "released"},
    "blank": {"label": "Blank", "of": "base", "blank_lr": True},
    "raw": {"label": "Untrained", "backbone": "dit4sr", "untrained": True},
    "pisa": {"label": "PiSA-SR", "backbone": "pisa_sr", "recipe": "released"},
}


def study(tmp_path: Path, analysis: dict | None, **more) -> Study:
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text()) | {"arms": ARMS, "seeds": [3, 4]} | more
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config | ({"analysis": analysis} if analysis else {}), sort_keys=False))
    return Study.load(path, ROOT / "datasets")


def test_without_the_section_nothing_is_declared_and_no_run_changes(tmp_path):
    plain, declared = study(tmp_path, None), study(tmp_path, {"set": "photos-crop128", "snapshots": [5, 9]})
    assert analysed(plain, {}) == []
    assert figures(plain, {}) == {}
    assert cost_job(declared, {}) is None
    changed = {run for run in plain.runs if plain.train_job(run).digest != declared.train_job(run).digest}
    assert changed == {"ours-s3", "faw-s3"}, "what Figs. 8 and 9 look at, at the first seed"
    assert declared.train_job("ours-s3").snapshots == (5, 9)


def test_runs_by_their_part(tmp_path):
    mine = study(tmp_path, {"set": "photos-crop128", "snapshots": [5], "seed": 4})
    assert analysed(mine, {}) == ["pisa_sr", "dit4sr"]
    job = analyse_job(mine, "dit4sr")
    assert job.runs == {"base": "base-s4", "ours": "ours-s4", "other": "other-s4"}
    assert list(job.runs) == ["base", "ours", "other"], "the baseline first, ablations and controls left out"
    assert job.compared == {"paper": "ours-s4", "no_fam": "faw-s4"}
    assert job.needed == ["base-s4", "ours-s4", "other-s4", "faw-s4"]
    assert job.settings == mine.restore_job("ours-s4").settings
    assert job.sampling == mine.restore_job("ours-s4").seed
    other = analyse_job(mine, "pisa_sr")
    assert (other.runs, other.compared, other.snapshots) == ({"pisa": "pisa-s4"}, {}, ())
    assert job.seed != other.seed


def test_figures_by_backbone(tmp_path):
    mine = study(tmp_path, {"set": "photos-crop128", "snapshots": [5]})
    found = figures(mine, {})
    always = [f"pisa_sr-{name}" for name in ("densities", "layers", "images")]
    assert list(found) == [
        *always,
        *(f"dit4sr-{name}" for name in ("densities", "layers", "images", "weights", "early")),
    ]
    assert found["dit4sr-layers"] == Path("results/mine/analysis/dit4sr/layers.npz")
    assert found["dit4sr-early"] == Path("results/mine/analysis/dit4sr/early")
    without = figures(study(tmp_path, {"set": "photos-crop128"}), {})
    assert "dit4sr-weights" not in without
    assert "dit4sr-early" not in without


def test_what_cannot_be_trained_here_is_not_analysed(tmp_path):
    mine = study(tmp_path, {"set": "photos-crop128", "cost": {}})
    assert analysed(mine, {"photos": "by hand"}) == []
    assert analysed(mine, {"photos-crop128": "by hand"}) == []
    assert cost_job(mine, {"photos": "by hand"}) is None


def test_a_label_analyses_nothing_again(tmp_path):
    analysis = {"set": "photos-crop128"}
    before = analyse_job(study(tmp_path, analysis), "dit4sr").digest
    renamed = {name: arm | {"label": f"{arm['label']}!"} for name, arm in ARMS.items()}
    assert analyse_job(study(tmp_path, analysis, arms=renamed), "dit4sr").digest == before


def test_cost_is_asked_for(tmp_path):
    job = cost_job(study(tmp_path, {"set": "photos-crop128", "cost": {"batch": 4, "crop": 64}}), {})
    assert job is not None
    assert job.runs == {"pisa": "pisa-s3", "base": "base-s3", "ours": "ours-s3", "other": "other-s3"}
    assert (job.steps, job.warmup, job.batch, job.crop) == (50, 5, 4, 64)
    assert job.restoring["base-s3"]["steps"] == 4


@pytest.mark.parametrize(
    ("analysis", "words"),
    [
        ({"set": "photos"}, "analysis.set: photos has no pairs of LR and HR"),
        ({"set": "photos-crop128", "seed": 5}, "analysis.seed: 5 is no training seed; there are 3, 4"),
        (
            {"set": "photos-crop128", "snapshots": [9, 141]},
            "analysis.snapshots: 141 is beyond the 140 steps of pisa_sr",
        ),
        ({"set": "photos-crop128", "snapshots": [9, 5]}, "analysis.snapshots: name each step once, in their order"),
        ({"set": "photos-crop128", "snapshots": [0]}, "analysis.snapshots.0: "),
        ({"set": "photos-crop128", "imags": 3}, "analysis: unknown key 'imags', did you mean 'images'"),
        ({"images": 3}, "analysis.set: Field required"),
    ],
)
def test_a_wrong_section_is_one_line(tmp_path, analysis, words):
    with pytest.raises(UserError) as error:
        study(tmp_path, analysis)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_end_itself_may_be_kept(tmp_path):
    assert study(tmp_path, {"set": "photos-crop128", "snapshots": [140]}).train_job("ours-s3").snapshots == (140,)


def test_other_settings_of_the_training_are_another_measurement(tmp_path):
    backbones = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())["backbones"]
    section = {"set": "photos-crop128", "cost": {"batch": 4, "crop": 64}}

    def digest() -> str:
        job = cost_job(study(tmp_path, section, backbones=backbones), {})
        assert job is not None
        return job.digest

    plain = digest()
    backbones["dit4sr"]["settings"] = {**backbones["dit4sr"].get("settings", {}), "gradient_checkpointing": True}
    checkpointed = digest()
    backbones["dit4sr"]["numerics"] = {"compile": True}
    assert len({plain, checkpointed, digest()}) == 3
