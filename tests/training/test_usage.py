"""What a training took is counted over all its starts, and is part of nothing that is compared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from framer.errors import TrainingInterrupted
from framer.provenance.cards import LOCK, read_card
from framer.provenance.code import fingerprint
from framer.provenance.hashing import sha256_file
from framer.training.options import Session
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import base_job, run_job, train_here

QUIET = Session(progress=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spent")
    write_photographs(root)
    train_here(root, base_job("dit4sr", steps=1, batch=2), root / "bases/dit4sr", QUIET)
    return root


def measured(out: Path) -> dict:
    return json.loads((out / "run.json").read_text())


def stopped(root: Path, out: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        train_here(root, run_job("dit4sr", steps=2, batch=2), out, replace(QUIET, minutes=0))


@pytest.fixture(scope="module")
def interrupted(root: Path) -> Path:
    """A run that was stopped after its first step."""
    stopped(root, root / "interrupted/run")
    return root / "interrupted/run"


def test_every_start_counts(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for starts in (1, 2):
        stopped(root, out)
        assert len(measured(out)["starts"]) == starts
    train_here(root, run_job("dit4sr", steps=2, batch=2), out, QUIET)
    said = measured(out)
    assert [start["devices"] for start in said["starts"]] == [{"1 CPU thread": 1}] * 3
    assert said["seconds"] == pytest.approx(sum(start["seconds"] for start in said["starts"]), abs=1e-3)
    assert all(start["seconds"] > 0 for start in said["starts"][:2])
    assert said["gpu_hours"] == 0, "there is no GPU in it"
    assert "run.json" not in read_card(out, "run")["payload"]


def test_a_new_training_begins_at_zero(root: Path, interrupted: Path, tmp_path: Path) -> None:
    out = shutil.copytree(interrupted, tmp_path / "run")
    train_here(root, run_job("dit4sr", steps=2, batch=2), out, replace(QUIET, resume="none"))
    assert len(measured(out)["starts"]) == 1


@pytest.mark.parametrize("text", ["", "{}", '{"starts": [{"seconds": "x"}]}'])
def test_a_damaged_measurement_stops_no_training(root: Path, interrupted: Path, tmp_path: Path, text: str) -> None:
    out = shutil.copytree(interrupted, tmp_path / "run")
    (out / "run.json").write_text(text)
    train_here(root, run_job("dit4sr", steps=2, batch=2), out, QUIET)
    assert len(measured(out)["starts"]) == 1


def test_cards_name_the_code_and_the_lock(root: Path, tmp_path: Path) -> None:
    train_here(root, run_job("dit4sr", steps=1), tmp_path / "run", QUIET)
    for folder, kind, command in ((root / "bases/dit4sr", "base", "pretrain"), (tmp_path / "run", "run", "train")):
        card = read_card(folder, kind)
        assert (card["code"], card["lock"]) == (
            fingerprint(command, "framer.backbones.dit4sr.model"),
            sha256_file(LOCK),
        )
