"""Settings of restoring, from a study and from the command line, arrive in the card as they were written."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from framer.cli import main
from framer.data.images import write_png
from framer.provenance.cards import read_card
from framer.training.options import Session
from tests.fixtures.photographs import write_photographs
from tests.fixtures.snakemake import snakemake
from tests.fixtures.trainings import base_job, run_job, train_here


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of PiSA-SR, `runs/r`, and one LR image."""
    root = tmp_path_factory.mktemp("settings")
    write_photographs(root)
    for job, out in ((base_job("pisa_sr", 1), "bases/pisa_sr"), (run_job("pisa_sr", 1, None), "runs/r")):
        train_here(root, job, root / out, Session(progress=False))
    write_png(root / "lr/a.png", np.full((5, 7, 3), 90, np.uint8))
    return root


def restored(root: Path, *options: str) -> dict:
    """The settings in the card of a `framer restore`."""
    shutil.rmtree(root / "out", ignore_errors=True)
    paths = ["--checkpoint", str(root / "runs/r"), "--lr", str(root / "lr"), "--out", str(root / "out")]
    assert main(["restore", *paths, *options]) == 0
    return read_card(root / "out", "images")["settings"]


def test_small_numbers_of_a_study_reach_the_model(root: Path, clone: Path) -> None:
    text = (clone / "config/smoke.yaml").read_text()
    given = "settings: {restore: {lambda_pix: 1e-3, lambda_sem: 1.0e-5}}"
    plain = "{label: PiSA-SR, backbone: pisa_sr}"
    assert plain in text
    (clone / "config/mine.yaml").write_text(text.replace(plain, f"{plain[:-1]}, {given}}}"))
    planned = snakemake(clone, "-n", "-p", "--cores", "1", "--config", "study=mine").stdout
    [line] = [
        line for line in planned.splitlines() if "framer restore" in line and "images/pisa_sr-baseline-s0/" in line
    ]
    words = shlex.split(line)
    settings = restored(root, *words[words.index("--seed") : words.index("2>")])
    assert (settings["lambda_pix"], settings["lambda_sem"]) == (1e-3, 1e-5)


def test_small_numbers_of_the_command_line_reach_the_model(root: Path) -> None:
    settings = restored(root, "--set", "lambda_pix=1e-3", "--settings", json.dumps({"lambda_sem": 1e-5}))
    assert (settings["lambda_pix"], settings["lambda_sem"]) == (1e-3, 1e-5)
    assert restored(root, "--settings", '{"lambda_pix": 0.5}', "--set", "lambda_pix=.25")["lambda_pix"] == 0.25
