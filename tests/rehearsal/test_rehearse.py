"""A rehearsal of a small study: what it runs, what it keeps, and what its report tells."""

import csv
import shutil
from pathlib import Path

import pytest
import yaml

from framer import cli
from framer.errors import UserError
from framer.rehearsal import derived
from framer.rehearsal.inventory import Inventory
from framer.rehearsal.jobs import Measured
from framer.rehearsal.rehearse import rehearse
from framer.rehearsal.summary import lines
from framer.study.study import Study
from tests.fixtures.clone import ROOT


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The micro study in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("config", "datasets", "weights"):
        (tmp_path / name).mkdir()
        for path in (ROOT / name).glob("*.yaml"):
            shutil.copy(path, tmp_path / name)
    return Study.load(Path("config/micro.yaml"))


def test_what_decides_memory_stays_and_what_decides_time_is_cut(study: Study, tmp_path: Path) -> None:
    paper = Study.load(Path("config/paper.yaml"))
    for backbone, config in paper.config.backbones.items():
        file = derived.write(paper, backbone, tmp_path / backbone, images=4)
        small = Study.load(file, tmp_path / backbone / "datasets")
        found = small.config.backbones[backbone]
        assert (found.base, found.settings, found.numerics) == ("random", config.settings, config.numerics)
        assert {name: stage.crop for name, stage in found.train.items()} == {
            name: stage.crop for name, stage in config.train.items()
        }
        assert sum(stage.steps for stage in found.train.values()) == 2
        assert {stage.batch for stage in found.train.values()} == {4}
        recipes = [arm.recipe.recipe for arm in paper.arms.values() if arm.backbone == backbone and arm.recipe]
        assert small.train_job("rehearsed-s0").recipe == recipes[0]
        cut = Study.load(
            derived.write(paper, backbone, tmp_path / f"cut-{backbone}", 1, sampling=2), file.parent / "datasets"
        )
        steps = [one.restore_job("rehearsed-s0").settings.get("steps") for one in (small, cut)]
        assert steps == [None, 2 if backbone == "dit4sr" else None], "the study leaves them at their default"


def test_a_folder_of_something_else_is_left_alone(study: Study) -> None:
    folder = study.paths.rehearsal("pisa_sr")
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError) as error:
        rehearse(study, "pisa_sr", 1)
    assert (error.value.path, error.value.code) == (str(folder), "refused")
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_the_next_rehearsal_removes_what_the_one_before_wrote_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "rehearsal"
    before = Inventory(folder)
    before.expect([folder / "study.yaml", folder / "datasets", tmp_path / "elsewhere"])
    (folder / "datasets" / "pairs").mkdir(parents=True)
    for name in ("study.yaml", "datasets/pairs/a.png"):
        (folder / name).write_text("x")
    before.record()
    before.expect([folder / "runs" / "r"])  # and the rehearsal is killed in this job
    (folder / "runs" / "r").mkdir(parents=True)
    (folder / "runs" / "r" / "half.part").write_text("x")
    (folder / "runs" / "notes.txt").write_text("mine")
    (folder / "datasets" / "photo.png").write_text("mine")
    with pytest.raises(UserError) as error:
        Inventory(folder).clear()
    assert (error.value.path, error.value.code) == (str(folder), "refused")
    assert "datasets/photo.png and 1 more" in str(error.value)
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 6
    for name in ("runs/notes.txt", "datasets/photo.png"):
        (folder / name).unlink()
    Inventory(folder).clear()
    assert not list(folder.iterdir())


def test_what_does_not_fit_stands_first(study: Study) -> None:
    paper = Study.load(Path("config/paper.yaml"))
    jobs = [
        Measured("train", "resume", "ok", 10.0, 80 * 10**9),
        Measured("restore", "restore", "out of memory", 1.0, 10**9, reason="killed"),
        Measured("score", "score restore", "skipped", reason="needs: restore"),
    ]
    text = "\n".join(lines(paper, "pisa_sr", jobs, [], "estimated"))
    assert "Not everything fits" in text and "resume: 80.0 GB at most, and its rule requests 64 GB" in text
    assert "restore: out of memory: killed" in text and "not run, since an earlier job failed: score restore" in text
    made = Measured("base", "make the base", "ok", 10.0, 10**11)  # by no rule of this study
    fine = "\n".join(lines(paper, "pisa_sr", [made, Measured("train", "resume", "ok", 10.0, 10**9)], [], "estimated"))
    assert "Every job ended as it should" in fine


@pytest.mark.slow
def test_a_rehearsal_of_tiny_networks(
    study: Study, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(SystemExit) as ended:
        cli.main(["rehearse", "--study", "config/micro.yaml", "--backbone", "dit4sr"])
    folder = study.paths.rehearsal("dit4sr")
    with (folder / "rehearsal.csv").open(newline="") as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    assert ended.value.code == 0, rows
    assert rows["train until killed"]["outcome"] == "killed as planned"
    assert {row["outcome"] for name, row in rows.items() if name != "train until killed"} == {"ok"}
    assert {"encode", "resume", "restore", "score restore", "tables", "report"} <= {*rows}
    assert all(float(row["peak_gb"]) > 0.05 and float(row["seconds"]) > 0 for row in rows.values())
    assert float(rows["resume"]["requested_gb"]) == 4
    assert (folder / "report.html").is_file() and not list(folder.glob("bases/*/*.safetensors"))
    assert "Every job ended as it should" in capfd.readouterr().out
    assert yaml.safe_load((folder / f"{folder.name}.yaml").read_text())["seeds"] == [0]
