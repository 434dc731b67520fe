"""What a training keeps on its way: the bytes of a shorter one, whatever interrupts it."""

from dataclasses import replace
from pathlib import Path

import pytest

from framer.backbones.loading import read_tensors
from framer.backbones.registry import settings_class
from framer.errors import TrainingInterrupted, UserError
from framer.provenance.cards import read_card
from framer.provenance.hashing import sha256_file
from framer.runs.snapshots import load_moment
from framer.study.jobs import TrainJob
from framer.training.options import Session
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import BACKBONES, base_job, files, killed, optimisation, run_job, train_here

QUIET = Session(progress=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    write_photographs(root)
    for backbone in BACKBONES:
        train_here(root, base_job(backbone, steps=1, batch=2), root / f"bases/{backbone}", QUIET)
    return root


def staged(backbone: str, *steps: int, snapshots: tuple[int, ...] = (), ema: float = 0) -> TrainJob:
    """A run of some steps a stage, at a constant rate."""
    job = run_job(backbone, recipe="paper")
    stages = dict(
        zip(
            settings_class(backbone).stages,
            (optimisation(n, batch=2, decay=False, ema=ema) for n in steps),
            strict=False,
        )
    )
    settings = {"lpips": 0} if backbone == "pisa_sr" else {}
    return replace(job, stages=stages, settings=settings, snapshots=snapshots, heldout=None)


@pytest.mark.parametrize(
    ("backbone", "whole", "ema", "shorter"),
    [
        ("dit4sr", (2,), 0, {1: (1,)}),
        ("pisa_sr", (1, 2), 0.9, {1: (1,), 2: (1, 1)}),
    ],
)
def test_a_snapshot_has_the_bytes_of_a_run_of_so_many_steps(root, backbone, whole, ema, shorter):
    out = root / f"runs/{backbone}-whole"
    train_here(root, staged(backbone, *whole, snapshots=tuple(shorter), ema=ema), out, QUIET)
    for step, steps in shorter.items():
        train_here(root, staged(backbone, *steps, ema=ema), root / f"runs/{backbone}-{step}", QUIET)
        kept = out / f"snapshots/step-{step}.safetensors"
        assert sha256_file(kept) == sha256_file(root / f"runs/{backbone}-{step}/model.safetensors")
        model = load_moment(out, step)
        own = read_tensors(kept)
        assert own.keys() == model.adapter_state().keys()
        assert all(tensor.equal(own[name]) for name, tensor in model.adapter_state().items())
    train_here(root, staged(backbone, *whole, ema=ema), root / f"runs/{backbone}-plain", QUIET)
    for name in ("model.safetensors", "log.csv"):
        assert sha256_file(out / name) == sha256_file(root / f"runs/{backbone}-plain/{name}"), "keeping changes nothing"
    assert not (root / f"runs/{backbone}-plain/snapshots").exists()


def test_the_heads_of_a_moment_come_with_it(root):
    out = root / "runs/heads"
    train_here(root, staged("pisa_sr", 2, snapshots=(1,)), out, QUIET)
    early, late = (load_moment(out, step).heads.state_dict() for step in (1, None))
    assert any(tensor.any() for tensor in early.values()), "they start at zero, and one step moved them"
    assert not all(tensor.equal(late[name]) for name, tensor in early.items())
    with pytest.raises(UserError, match=r"has no step-2\.safetensors; list its step under analysis\.snapshots"):
        load_moment(out, 2)
    (out / "snapshots/heads-1.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"heads-1\.safetensors: its sha256 is not the one"):
        load_moment(out, 1)


def test_killed_and_resumed_it_keeps_the_same(root):
    job = staged("pisa_sr", 4, snapshots=(1, 3))
    train_here(root, job, root / "runs/at-once/x", QUIET)
    assert killed(root, job, root / "runs/killed/x", [(1, 0.0), (3, 0.0)]) >= 1
    assert files(root / "runs/killed/x") == files(root / "runs/at-once/x")
    assert set(files(root / "runs/killed/x/snapshots")) == {
        f"{kind}-{step}.safetensors"
        for kind, step in (("step", 1), ("heads", 1), ("step", 3), ("heads", 3), ("heads", 4))
    }
    assert read_card(root / "runs/killed/x", "run")["snapshots"] == files(root / "runs/killed/x/snapshots")


def test_a_lost_snapshot_is_not_passed_over(root):
    job, out = staged("dit4sr", 3, snapshots=(1,)), root / "runs/lost"
    with pytest.raises(TrainingInterrupted):
        train_here(root, job, out, replace(QUIET, minutes=0.1))  # less than what it stops ahead of: one step
    (out / ".unfinished/snapshots/step-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"step-1\.safetensors: missing, although step 1 is done; start over"):
        train_here(root, job, out, QUIET)
    train_here(root, job, out, replace(QUIET, resume="none"))
    assert (out / "snapshots/step-1.safetensors").is_file()


def test_without_snapshots_a_job_is_what_it_was():
    plain, keeping = staged("dit4sr", 3), staged("dit4sr", 3, snapshots=(1,))
    assert "snapshots" not in plain.as_dict()
    assert plain.digest != keeping.digest
    assert keeping.as_dict() == plain.as_dict() | {"snapshots": (1,)}
