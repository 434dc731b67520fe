"""The cost of training with and without FRAMER, and of restoring: time and peak memory on the available device.

A measurement is no function of its inputs, so it is made once, where a study asks for it. Each block is a process of
its own, for a peak of memory of its own; the blocks of the arms alternate, so that a machine that slows down slows all
of them. Images are noise in memory: reading and degrading photographs is not measured.
"""

import gc
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from framer.analysis.arrays import COLUMNS, QUANTITIES
from framer.backbones.base import Batch
from framer.backbones.random import Draws, generator
from framer.backbones.registry import settings_of
from framer.data.degradation.presets import SCALE
from framer.method.auxiliary import auxiliary_loss
from framer.provenance.cards import read_card
from framer.provenance.files import csv_text, write_text
from framer.provenance.output import claimed_file
from framer.runs import run_dir
from framer.runs.runtime import DTYPES, deterministic, device_for, peak_bytes
from framer.study.jobs import CostJob, TrainJob
from framer.training.accelerator import accelerated
from framer.training.optimizer_step import Stepper
from framer.training.train import stages_of

RESTORED = 3
"""Timed images per block, after one that is not timed."""


@dataclass(frozen=True)
class Block:
    """The measurements of one block of one arm.

    Attributes:
        steps: seconds of every step, by stage.
        train_bytes: peak of memory in training.
        restores: seconds of every image.
        restore_bytes: peak of memory in restoring.
        device: in words.
    """

    steps: dict[str, list[float]]
    train_bytes: int
    restores: list[float]
    restore_bytes: int
    device: str


def measure(job: CostJob, jobs: dict[str, TrainJob], runs: Path, out: Path, progress: bool = True) -> None:
    """Write a CSV with the columns arm, quantity, value, device.

    A step's time is the median over all blocks, then the mean over stages, weighted by their number of steps; memory
    is the largest of all blocks. An arm that does not fit into the memory of the GPU has no rows, and the others do.

    Args:
        job: the number of steps, blocks and images.
        jobs: the training of each of its runs.
        runs: folder of the study's trained runs; their bases are trained again for a few steps.
        out: path of the CSV.
        progress: show a bar.

    Raises:
        UserError: a run or its base is missing or damaged.
    """
    found: dict[str, list[Block]] = {arm: [] for arm in job.runs}
    too_large: set[str] = set()
    for run in job.runs.values():
        read_card(runs / run, "run")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool, _ending_children():
        for arm in tqdm(
            order(list(job.runs), job.blocks), "measure", unit="block", file=sys.stderr, disable=not progress
        ):
            run = job.runs[arm]
            if arm in too_large:
                continue
            if block := pool.submit(_block, job, jobs[run], runs / run).result():
                found[arm].append(block)
            else:
                too_large.add(arm)
                tqdm.write(
                    f"{run}: a batch of {job.batch} does not fit into the GPU's memory; left out", file=sys.stderr
                )
    devices = {block.device for blocks in found.values() for block in blocks}
    rows = [
        (arm, quantity, f"{value:.6g}", ", ".join(sorted(devices)))
        for arm, blocks in found.items()
        if arm not in too_large
        for quantity, value in zip(QUANTITIES, _summary(blocks, jobs[job.runs[arm]]), strict=True)
    ]
    with claimed_file(out, lambda path: path.read_bytes().startswith(",".join(COLUMNS).encode())):
        write_text(out, csv_text(COLUMNS, rows))


@contextmanager
def _ending_children() -> Iterator[None]:
    """End the block that runs when this process is interrupted, rather than wait for it."""
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise


def order(arms: list[str], blocks: int) -> list[str]:
    """The arm of each block: forwards and backwards in turn."""
    return [arm for number in range(blocks) for arm in arms[:: -1 if number % 2 else 1]]


def _summary(blocks: list[Block], job: TrainJob) -> tuple[float, float, float, float]:
    """In the order of `QUANTITIES`."""
    counts = {stage: settings.steps for stage, settings in job.stages.items() if settings.steps}
    medians = {stage: statistics.median(s for block in blocks for s in block.steps[stage]) for stage in counts}
    step = sum(medians[stage] * count for stage, count in counts.items()) / sum(counts.values())
    return (
        step,
        max(block.train_bytes for block in blocks) / 2**30,
        statistics.median(s for block in blocks for s in block.restores),
        max(block.restore_bytes for block in blocks) / 2**30,
    )


def _block(cost: CostJob, job: TrainJob, run: Path) -> Block | None:
    """Measure one block of one arm; None where it does not fit into the GPU's memory.

    Restoring comes first: without gradients it has the smaller peak, which CPUs cannot reset.
    """
    try:
        seconds, restore_bytes = _restoring(cost, job, run)
        gc.collect()
        with accelerated(job) as accelerator:
            steps = _training(cost, job, run, accelerator)
            device = accelerator.device
    except torch.OutOfMemoryError:
        return None
    return Block(steps, peak_bytes(), seconds, restore_bytes, _describe(device, job.threads))


def _training(cost: CostJob, job: TrainJob, run: Path, accelerator: Accelerator) -> dict[str, list[float]]:
    images = _images(cost)
    backbone, _ = run_dir.load_base(run_dir.base_of(run), job.backbone, job.settings)
    framer = auxiliary_loss(job.recipe) if job.recipe else None
    begin = stages_of(job, backbone)
    seconds: dict[str, list[float]] = {}
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for stage, settings in job.stages.items():
        begin(stage)
        backbone.to(accelerator.device, DTYPES[job.numerics.precision])
        if job.numerics.compile:
            backbone.network.compile()
        if not settings.steps:
            continue
        settings = settings.model_copy(update={"batch": cost.batch, "crop": cost.crop, "accumulate": 1})
        stepper = Stepper(backbone, lambda batch: backbone.training_loss(batch, framer), settings, accelerator)

        def step(number: int, stepper: Stepper = stepper, rate: float = settings.lr) -> None:
            draws = Draws.of_step(0, 0, number, cost.batch)
            stepper.backward(iter([Batch(*images, ("",) * cost.batch, draws)]))
            stepper.clip()
            stepper.update(number, rate)

        seconds[stage] = _timed(step, cost.warmup, cost.steps)
        accelerator.free_memory()
    return seconds


def _restoring(cost: CostJob, job: TrainJob, run: Path) -> tuple[list[float], int]:
    deterministic(job.threads)
    lr, _ = _images(cost)
    model, _ = run_dir.load_run(run)
    options = settings_of(model.name, {"restore": cost.restoring[run.name]}).restore
    model.to(device_for(model), DTYPES[options.precision])

    def restore(number: int) -> None:
        model.restore_image(lr[:1], Draws.of_step(0, 0, number, 1), options)

    return _timed(restore, 1, RESTORED), peak_bytes()


def _images(cost: CostJob) -> tuple[Tensor, Tensor]:
    """LR and HR of noise: the content does not change the cost."""
    hr = torch.rand(cost.batch, 3, cost.crop, cost.crop, generator=generator(0, "cost"))
    return hr[..., ::SCALE, ::SCALE].contiguous(), hr


def _timed(work: Callable[[int], None], warmup: int, count: int) -> list[float]:
    """Seconds of every call after the warm-up."""
    seconds = []
    for number in range(warmup + count):
        started = time.perf_counter()
        work(number)
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds[warmup:]


def _describe(device: torch.device, threads: int) -> str:
    versions = f"torch {torch.__version__}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {versions}, CUDA {torch.version.cuda}"
    return f"{threads} CPU threads ({platform.machine()}), {versions}"
