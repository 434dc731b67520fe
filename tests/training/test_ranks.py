"""Two ranks with half the batch are one process with the whole batch, FRAMER included."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import multiprocessing

from framer.backbones.registry import create
from framer.data.pairs import TrainingPairs
from framer.errors import UserError
from framer.method import FramerLoss, Recipe
from framer.runs.runtime import deterministic, seeded
from framer.study.schema import Numerics
from framer.training.accelerator import accelerated
from framer.training.dataloader import Batches
from framer.training.launch import LAUNCH, RUN_ID
from framer.training.optimizer_step import Stepper
from framer.training.options import Session
from tests.fixtures.clone import ROOT
from tests.fixtures.photographs import write_photographs
from tests.fixtures.processes import on_two_ranks
from tests.fixtures.trainings import BACKBONES, SEEDS, base_job, files, optimisation, run_job, train_here

QUIET = Session(progress=False)
VARIANTS = {"whole batch": {"steps": 5}, "in two parts": {"steps": 2, "accumulate": 2}}


def losses(backbone, photos, more):
    """Loss, FRAMER's term and the gradient's norm over some steps in float64."""
    settings = optimisation(**more)
    with seeded(7):
        model = create(backbone, "tiny")
        model.adapt(model.settings.stages[0])
        model.add_heads("x0")
    # Zero heads and a zero last layer would make every image alike.
    with torch.no_grad(), seeded(8):
        for parameter in model.trainable().values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.to("cpu", torch.float64)
    framer = FramerLoss(Recipe.named("paper"))
    pairs = TrainingPairs([photos], settings.crop, "pisa_sr", 5)
    rows = []
    with accelerated(base_job(backbone)) as accelerator:
        rank, ranks = accelerator.process_index, accelerator.num_processes
        batches = Batches(pairs, settings, SEEDS, rank, ranks)
        stepper = Stepper(model, lambda batch: model.training_loss(batch, framer), settings, accelerator)
        numbers = range(settings.steps * settings.accumulate)
        stream = (replace(b, lr=b.lr.double(), hr=b.hr.double()) for b in map(batches.batch, numbers))
        generators = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        for step in range(settings.steps):
            values = stepper.backward(stream)
            means = accelerator.reduce(torch.tensor(list(values.values()), dtype=torch.float64), "mean")
            rows.append([*means.tolist(), stepper.clip()])
            stepper.update(step, settings.lr)
        # A training has its process for itself; here the next one begins, which must not find half of this one's group.
        accelerator.wait_for_everyone()
        del stepper
    # None of them lives from step to step. That is why a checkpoint has no state of generators in it.
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == generators[1:]
    return torch.tensor(rows, dtype=torch.float64)


def one_rank(rank, port, photos, out):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {LAUNCH: "test", RUN_ID: "test"}
    for backbone in BACKBONES:
        for name, more in VARIANTS.items():
            found = losses(backbone, photos, more)
            torch.save(found, out / f"{backbone} {name} {rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranks")
    write_photographs(root)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    on_two_ranks(one_rank, port, root / "photos", root)
    return root


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_losses_are_the_same_to_1e9(backbone, name, ranks):
    alone = losses(backbone, ranks / "photos", VARIANTS[name])
    assert alone.shape == (VARIANTS[name]["steps"], 4) and alone.isfinite().all()
    assert (alone[:, 2] > 0.01).all()  # FRAMER is on
    for rank in (0, 1):
        found = torch.load(ranks / f"{backbone} {name} {rank}.pt", weights_only=True)
        assert (found - alone).abs().max() < 1e-9


def test_data_workers_change_nothing(tmp_path):
    write_photographs(tmp_path)
    settings = optimisation(3)
    batches = Batches(TrainingPairs([tmp_path / "photos"], 32, "pisa_sr", 5), settings, SEEDS)
    streams = [list(batches.stream(1, 3, workers)) for workers in (0, 2)]
    for alone, helped in zip(*streams, strict=True):
        assert alone.stems == helped.stems
        assert torch.equal(alone.lr, helped.lr) and torch.equal(alone.hr, helped.hr)
        assert torch.equal(alone.draws.normal(3), helped.draws.normal(3))


def test_signals_to_a_whole_job_do_not_end_its_data_workers(tmp_path):
    write_photographs(tmp_path)
    batches = Batches(TrainingPairs([tmp_path / "photos"], 32, "pisa_sr", 5), optimisation(12, batch=2), SEEDS)
    stream = batches.stream(0, 12, 1)
    next(stream)
    workers = multiprocessing.active_children()
    assert workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
    assert len(list(stream)) == 11


@pytest.mark.slow
def test_bf16_trains_and_keeps_float32_weights(tmp_path):
    write_photographs(tmp_path)
    for backbone in BACKBONES:
        train_here(tmp_path, base_job(backbone), tmp_path / f"bases/{backbone}", QUIET)
        for precision in ("bf16", "float32"):
            job = replace(run_job(backbone, steps=3), numerics=Numerics(precision=precision))
            train_here(tmp_path, job, tmp_path / f"runs/{backbone}-{precision}", QUIET)
        found = [load_file(tmp_path / f"runs/{backbone}-{p}/model.safetensors") for p in ("bf16", "float32")]
        assert found[0].keys() == found[1].keys()
        assert {tensor.dtype for tensor in found[0].values()} == {torch.float32}
        distance = max((found[0][name] - found[1][name]).abs().max() for name in found[0])
        assert 0 < distance < 0.01  # three steps of 1e-3


def test_an_unknown_tracker_is_an_error(tmp_path):
    asked = replace(QUIET, trackers=("tensorbored",), tracking=tmp_path, study=Path("s.yaml"))
    with pytest.raises(UserError, match="tensorbored") as error, accelerated(base_job("dit4sr"), asked):
        pass
    assert (error.value.path, error.value.key) == ("s.yaml", "trackers")


@pytest.mark.parametrize(
    "more", [{}, {"WORLD_SIZE": "1", "LOCAL_RANK": "0", "RANK": "0"}, {"OMPI_COMM_WORLD_SIZE": "2"}]
)
def test_ranks_of_other_programs_change_neither_threads_nor_processes(more, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    with accelerated(replace(base_job("pisa_sr"), threads=3)) as accelerator:
        assert (torch.get_num_threads(), accelerator.num_processes) == (3, 1)


def test_a_limit_of_openmp_below_the_threads_is_refused(monkeypatch):
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    with pytest.raises(UserError) as error:
        deterministic(2)
    assert (error.value.key, error.value.code) == ("OMP_THREAD_LIMIT", "conflict")
    deterministic(1)


def test_more_threads_than_cores_are_one_warning(capsys):
    cores, many = os.cpu_count(), 997
    for threads in (cores, many, many, 1):
        deterministic(threads)
    assert capsys.readouterr().err == f"framer: warning: {many} CPU threads on {cores} cores are slow\n"


STUDY = """
title: t
seed: 1
sets: [photos-crop128]
protocols: [osediff]
metrics: [psnr]
trackers: [tensorboard]
backbones:
  pisa_sr:
    base: tiny
    data: {sets: [photos], degradation: pisa_sr}
    pretrain: {steps: 3, batch: 4, crop: 32, lr: 1.0e-3}
    train: {pixel: {steps: 1, batch: 4, crop: 32, lr: 1.0e-3}}
arms: {a: {label: A, backbone: pisa_sr}}
"""


@pytest.mark.slow
def test_torchrun_from_the_command_line(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "datasets").mkdir()
    for name in ("photos", "photos-crop128"):
        shutil.copy(ROOT / f"datasets/{name}.yaml", tmp_path / "datasets")
    write_photographs(tmp_path)
    shutil.copytree(tmp_path / "photos", tmp_path / "datasets/photos/train")
    command = [sys.executable, "-m", "framer", "pretrain", "--study", "study.yaml", "--base", "pisa_sr"]
    for out, more in (("one", []), ("two", ["--gpus", "2"])):
        done = subprocess.run([*command, "--out", out, *more], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    # The name of a checkpoint holds its hash, and one rank rounds as two do not.
    one, two = ({re.sub(r"[0-9a-f]{64}", "", name) for name in files(tmp_path / out)} for out in ("one", "two"))
    assert one == two
    assert list((tmp_path / "logs/study/tracking").rglob("events*"))


def test_only_kernels_that_repeat_their_bits_unless_asked():
    deterministic(1, exact=False)
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark
    deterministic(1)
    assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
