"""An unfinished training resumes with reworded code, and is refused with other code: real edits of a copied package."""

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import framer
from framer.errors import TrainingInterrupted, UserError
from framer.runs import run_dir
from framer.training.options import Session
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import base_job, files, run_job, train_here

QUIET = Session(progress=False)


def test_a_reworded_message_resumes_and_another_operator_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy/framer"
    shutil.copytree(Path(framer.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def edited(module: str, old: str, new: str) -> None:
        """Edit the copy; from here on its code is what trainings take their fingerprint of."""
        path = copy / module
        text = path.read_text()
        path.write_text(text.replace(old, new))
        assert path.read_text() != text
        spec = importlib.util.spec_from_file_location("code_of_copy", copy / "provenance/code.py")
        module_of_copy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module_of_copy)
        monkeypatch.setattr(run_dir, "fingerprint", module_of_copy.fingerprint)

    write_photographs(tmp_path)
    train_here(tmp_path, base_job("dit4sr", steps=1, batch=2), tmp_path / "bases/dit4sr", QUIET)
    job, out = run_job("dit4sr", steps=2, batch=2), tmp_path / "runs/ours"
    train_here(tmp_path, job, tmp_path / "runs/whole", QUIET)
    with pytest.raises(TrainingInterrupted):
        train_here(tmp_path, job, out, replace(QUIET, minutes=0))

    edited("method/loss.py", "self.recipe.weight * (", "self.recipe.weight + (")
    with pytest.raises(UserError, match="method"):
        train_here(tmp_path, job, out, QUIET)

    edited("method/loss.py", "self.recipe.weight + (", "self.recipe.weight * (")
    edited("method/loss.py", 'UserError(f"', 'UserError(f"Reworded: ')
    edited("backbones/dit4sr/settings.py", 'description="', 'description="Reworded: ')
    train_here(tmp_path, job, out, QUIET)
    assert files(out) == files(tmp_path / "runs/whole")
