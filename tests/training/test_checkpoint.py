"""A training that is interrupted, however and whenever, gives the bytes of one that is not."""

import os
import random
import re
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from framer.errors import TrainingInterrupted, UserError
from framer.study.jobs import TrainJob
from framer.training.checkpoint import WRITTEN, Checkpoints, Saved
from framer.training.options import Session
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import (
    BACKBONES,
    base_job,
    checkpoints,
    codes,
    files,
    killed,
    optimisation,
    run_job,
    start,
    train_here,
    wait_for_step,
)

QUIET = Session(progress=False)
EACH = Session(progress=False, every=0)
STEPS = {"dit4sr": 5, "pisa_sr": 3}


def short(backbone: str = "dit4sr", **more) -> TrainJob:
    """A FRAMER run of a few steps. Where the backbone makes no difference, the one that costs less."""
    return run_job(backbone, **{"steps": STEPS[backbone], "batch": 2, **more})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Photographs, and a base of each backbone."""
    root = tmp_path_factory.mktemp("root")
    write_photographs(root)
    for backbone in BACKBONES:
        train_here(root, base_job(backbone), root / f"bases/{backbone}", QUIET)
    return root


@pytest.fixture(scope="module")
def whole(root):
    """A FRAMER run of each backbone that nothing interrupted."""
    for backbone in BACKBONES:
        assert codes(start(root, short(backbone), root / f"runs/{backbone}", EACH)) == [0]


def test_killed_at_random_moments(root, whole):
    draw = random.Random(0)
    points = [(step, draw.uniform(0, 0.2)) for step in (0, *sorted(draw.sample(range(1, 4), 2)))]
    assert killed(root, short(), root / "killed/dit4sr", points) >= 2
    assert files(root / "killed/dit4sr") == files(root / "runs/dit4sr")


def test_killed_bases_and_two_ranks(root):
    job = base_job("dit4sr", steps=4, batch=2)
    for out in ("whole", "again"):
        processes = start(root, job, root / f"two/{out}", EACH, ranks=2)
        if out == "again":
            wait_for_step(root / "two/again", 2, processes)
            processes[1].kill()
            processes[0].kill()
            codes(processes)
            processes = start(root, job, root / "two/again", EACH, ranks=2)
        assert codes(processes) == [0, 0]
    assert files(root / "two/whole") == files(root / "two/again")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_limit_after_every_step(backbone, root, whole):
    """A limit that is over at once lets one step pass: a slice a step, and the last one finishes."""
    slices = 0
    while True:
        try:
            train_here(root, short(backbone), root / f"slices/{backbone}", replace(QUIET, minutes=0))
        except TrainingInterrupted as stopped:
            slices += 1
            assert f"the time limit is near; checkpoint saved after step {slices} of" in str(stopped)
        else:
            break
    assert slices == STEPS[backbone]
    # The last slice only wrote the run.
    assert files(root / f"slices/{backbone}") == files(root / f"runs/{backbone}")


@pytest.mark.slow
def test_the_second_stage_is_resumed_as_well(root, tmp_path):
    stages = {"pixel": optimisation(2), "semantic": optimisation(3)}
    job = replace(short("pisa_sr"), stages=stages, settings={"lpips": 0.0, "csd": 0.0})
    train_here(root, job, tmp_path / "runs/whole", QUIET)
    said = []
    for _ in range(5):
        with pytest.raises(TrainingInterrupted) as stopped:
            train_here(root, job, tmp_path / "runs/sliced", replace(QUIET, minutes=0))
        said.append(re.search(r"step \d of \w+", str(stopped.value))[0])
    train_here(root, job, tmp_path / "runs/sliced", QUIET)
    assert said == [f"step {step} of {stage}" for stage in stages for step in range(1, stages[stage].steps + 1)]
    assert files(tmp_path / "runs/sliced") == files(tmp_path / "runs/whole")


def test_sigterm_to_one_rank_stops_both_at_one_step(root, tmp_path):
    job = run_job("dit4sr", steps=200)
    processes = start(root, job, tmp_path / "run", replace(EACH, every=1), ranks=2)
    wait_for_step(tmp_path / "run", 1, processes)
    os.kill(processes[1].pid, signal.SIGTERM)
    assert codes(processes) == [1, 1]
    assert checkpoints(tmp_path / "run") and not (tmp_path / "run/card.json").exists()


@pytest.mark.slow
def test_averages_and_parts_of_a_batch_are_resumed(root, tmp_path):
    job = run_job("pisa_sr", steps=5, ema=0.9, accumulate=2)
    train_here(root, job, tmp_path / "runs/whole", QUIET)
    for _ in range(5):
        with pytest.raises(TrainingInterrupted):
            train_here(root, job, tmp_path / "runs/sliced", replace(QUIET, minutes=0))
    train_here(root, job, tmp_path / "runs/sliced", QUIET)
    plain = run_job("pisa_sr", steps=5, accumulate=2)
    train_here(root, plain, tmp_path / "runs/plain", QUIET)
    assert files(tmp_path / "runs/whole") == files(tmp_path / "runs/sliced")
    weights = [files(tmp_path / f"runs/{name}")["model.safetensors"] for name in ("whole", "plain")]
    assert weights[0] != weights[1]  # the average is not the last step
    assert files(tmp_path / "runs/whole")["log.csv"] == files(tmp_path / "runs/plain")["log.csv"]


def told_to_delete(error) -> set[Path]:
    """What an error's commands delete, by `rm`."""
    return {Path(path) for path in re.findall(r"rm (?:-r )?([^;]+);", str(error.value))}


@pytest.fixture
def copied(root, whole, tmp_path):
    """All that was trained, for a test that changes it."""
    for name in ("photos", "pairs", "bases", "runs"):
        shutil.copytree(root / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def no_step(monkeypatch):
    """A training that makes a step fails."""

    def refuse(*args):
        raise AssertionError("it trains")

    monkeypatch.setattr("framer.training.optimizer_step.Stepper.backward", refuse)


def delete_outputs(out):
    """As Snakemake does before it runs a job again; heldout.csv is no output of the rules."""
    for name in WRITTEN:
        if name != "heldout.csv":
            (out / name).unlink()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_finished_training_is_written_again_without_a_step(backbone, copied, no_step, capsys):
    before = files(copied)
    trained = {copied / f"bases/{backbone}": base_job(backbone), copied / f"runs/{backbone}": short(backbone)}
    for out, job in trained.items():
        assert len(list((out / ".finished").iterdir())) == 1
        delete_outputs(out)
        train_here(copied, job, out, QUIET)
    assert files(copied) == before
    assert capsys.readouterr().err.count("already complete; outputs restored") == 2


def test_what_is_kept_holds_what_the_results_hold_and_no_optimiser(root, whole):
    [kept] = (root / "runs/dit4sr/.finished").iterdir()
    weights = load_file(root / "runs/dit4sr/model.safetensors")
    assert load_file(kept).keys() == {f"weights/{name}" for name in weights} | {"rows"}


@pytest.mark.parametrize("resume", ["latest", "none"])
def test_another_training_of_a_finished_run_starts_anew_and_replaces_it(resume, copied):
    out, other = copied / "runs/dit4sr", short(steps=3)
    [before] = (out / ".finished").iterdir()
    train_here(copied, other, out, replace(QUIET, resume=resume))
    [after] = (out / ".finished").iterdir()
    assert (before.name[:9], after.name[:9]) == ("000000005", "000000003")
    delete_outputs(out)
    train_here(copied, short(), out, QUIET)
    assert [path.name for path in (out / ".finished").iterdir()] == [before.name]


def test_going_back_to_the_settings_of_a_finished_run_needs_no_training(copied):
    """Until another training is finished, what the last one made is kept."""
    out = copied / "runs/dit4sr"
    before = files(out)
    delete_outputs(out)
    with pytest.raises(TrainingInterrupted):
        train_here(copied, short(lr=2e-3), out, replace(QUIET, minutes=0))
    assert checkpoints(out)
    train_here(copied, short(), out, QUIET)
    assert files(out) == before


def test_asked_to_start_anew_a_finished_run_is_trained(copied, no_step):
    with pytest.raises(AssertionError, match="it trains"):
        train_here(copied, short(), copied / "runs/dit4sr", replace(QUIET, resume="none"))


def test_a_damaged_end_is_refused(copied):
    out = copied / "runs/dit4sr"
    [kept] = (out / ".finished").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="damaged: its sha256") as error:
        train_here(copied, short(), out, QUIET)
    assert told_to_delete(error) == {out / ".finished"}
    kept.write_bytes(b"half")
    with pytest.raises(UserError, match="damaged, or no checkpoint of this version"):
        train_here(copied, short(), out, QUIET)


@pytest.fixture(scope="module")
def stopped(root):
    """A run that was stopped after its second step."""
    for _ in range(2):
        with pytest.raises(TrainingInterrupted):
            train_here(root, short(), root / "stopped/run", replace(QUIET, minutes=0))
    assert [path.name[:9] for path in checkpoints(root / "stopped/run")] == ["000000001", "000000002"]
    return root / "stopped/run"


@pytest.fixture
def unfinished(stopped, tmp_path):
    """A copy of that run."""
    return shutil.copytree(stopped, tmp_path / "run")


def test_a_damaged_checkpoint_is_refused_and_the_one_before_used_if_asked(root, whole, unfinished):
    latest = checkpoints(unfinished)[-1]
    latest.write_bytes(latest.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"000000002-.*: damaged: its sha256 .*, run: rm \S+") as error:
        train_here(root, short(), unfinished, QUIET)
    assert {latest, unfinished / ".unfinished"} == told_to_delete(error)
    train_here(root, short(), unfinished, replace(QUIET, resume="previous"))
    assert files(unfinished).keys() == files(root / "runs/dit4sr").keys()
    assert files(unfinished)["model.safetensors"] == files(root / "runs/dit4sr")["model.safetensors"]


@pytest.mark.parametrize(
    ("other", "job"),
    [
        ("settings", short(recipe="paper")),
        ("settings", short(lr=2e-3)),
        ("settings", short(steps=9)),
    ],
)
def test_a_foreign_checkpoint_is_refused(root, unfinished, other, job):
    with pytest.raises(UserError, match=f"created with different {other};") as error:
        train_here(root, job, unfinished, QUIET)
    assert checkpoints(unfinished)
    assert told_to_delete(error) == {unfinished / ".unfinished"}


def test_a_checkpoint_of_another_base_or_other_data_is_refused(root, unfinished, tmp_path):
    shutil.copytree(root, tmp_path / "root")
    train_here(root, base_job("dit4sr", steps=1), tmp_path / "root/bases/dit4sr", QUIET)
    with pytest.raises(UserError, match="created with different base;"):
        train_here(tmp_path / "root", short(), unfinished, QUIET)
    (tmp_path / "root/photos/0.png").unlink()
    with pytest.raises(UserError, match="created with different base and data;"):
        train_here(tmp_path / "root", short(), unfinished, QUIET)


def test_starting_anew_deletes_what_there_was(root, whole, unfinished):
    train_here(root, short(), unfinished, replace(QUIET, resume="none"))
    assert files(unfinished)["model.safetensors"] == files(root / "runs/dit4sr")["model.safetensors"]


def test_a_second_trainer_is_refused_and_the_first_is_named(root, tmp_path):
    processes = start(root, short(steps=500), tmp_path / "run", EACH)
    wait_for_step(tmp_path / "run", 1, processes)
    with pytest.raises(UserError, match=rf"run: process {processes[0].pid} on .* is writing it"):
        train_here(root, short(), tmp_path / "run", QUIET)
    processes[0].kill()  # and the lock ends with it
    codes(processes)
    with pytest.raises(UserError, match="different settings"):
        train_here(root, short(), tmp_path / "run", QUIET)


def test_half_a_checkpoint_does_not_count(root, whole, unfinished):
    (unfinished / ".unfinished/part").write_bytes(b"half")
    (unfinished / ".log.csv.abc.csv").write_text("half")
    (unfinished / ".log.csv.swp").write_text("of an editor")
    train_here(root, short(), unfinished, QUIET)
    assert files(unfinished)["log.csv"] == files(root / "runs/dit4sr")["log.csv"]
    assert [path.name for path in unfinished.glob(".log.csv.*")] == [".log.csv.swp"]


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="the batch of 4 has no 3 equal parts"):
        optimisation(1, accumulate=3)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    """A limit of the size of files stands for it: the write fails in its midst."""
    kept = Checkpoints(tmp_path, settings="x")
    rows = {"log": [], "heldout": []}
    before = kept.write(1, Saved("s", 1, rows, {"weights/w": torch.zeros(10)}, {}))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            kept.write(2, Saved("s", 2, rows, {"weights/w": torch.zeros(100_000)}, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(tmp_path) in error.value.filename
    assert checkpoints(tmp_path) == [before] and kept.read().step == 1
