"""Training: its speed against a bare PyTorch loop, and twenty kills at random moments.

The loop is timed with all that it does by default: TensorBoard, checks of every value, checkpoints every ten minutes.
Both loops take turns in blocks. What counts is the CPU seconds of the process, less those of a run of one step: wall
time, which is printed too, depends more on what else a machine does.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from framer.data.pairs import TrainingPairs
from framer.method import FramerLoss
from framer.provenance.hashing import derive_seed
from framer.runs import run_dir
from framer.runs.runtime import deterministic, seeded
from framer.study.jobs import TrainJob
from framer.training.dataloader import Batches
from framer.training.options import Session
from tests.fixtures.trainings import (
    BACKBONES,
    SEEDS,
    base_job,
    codes,
    files,
    killed,
    photographs,
    run_job,
    start,
    train_here,
)

SLOWER = 1.05
"""The most that a step may take, in steps of the bare loop."""


def bare(root: Path, job: TrainJob) -> None:
    """The steps of a run by the shortest loop that makes the same weights."""
    deterministic(job.threads)
    backbone, _ = run_dir.load_base(root / f"bases/{job.backbone}", job.backbone, job.settings)
    [(stage, settings)] = job.stages.items()
    with seeded(derive_seed(job.seeds["init"], stage)):
        backbone.adapt(stage)
    backbone.add_heads("x0")
    assert job.recipe is not None
    framer = FramerLoss(job.recipe)
    seeds = {axis: derive_seed(seed, stage) for axis, seed in SEEDS.items()}
    batches = Batches(
        TrainingPairs([root / "photos"], settings.crop, job.data.degradation, seeds["data"]), settings, seeds
    )
    weights = list(backbone.trainable().values())
    optimiser = torch.optim.AdamW(weights, lr=settings.lr, weight_decay=settings.weight_decay)
    for step in range(settings.steps):
        loss = backbone.training_loss(batches.batch(step), framer)
        optimiser.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.clip)
        optimiser.step()


def engine(root: Path, job: TrainJob) -> None:
    """The same run by `framer train`."""
    session = Session(progress=False, resume="none", trackers=("tensorboard",), tracking=root / "tracking")
    train_here(root, job, root / f"speed/{job.backbone}", session)


def timed(loop: Callable[[Path, TrainJob], None], root: Path, job: TrainJob) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    loop(root, job)
    return time.process_time() - cpu, time.perf_counter() - wall


def speed(root: Path, backbone: str, seconds: float, turns: int) -> float:
    """How much longer the steps take than in the bare loop: the median over turns."""
    one = run_job(backbone, steps=1)
    for loop in (bare, engine):  # first calls load libraries
        loop(root, one)
    twenty = timed(bare, root, run_job(backbone, steps=21))[0] - timed(bare, root, one)[0]
    # A quarter more, so that no block is shorter than it should be.
    job = run_job(backbone, steps=max(20, round(25 * seconds / twenty)))
    ratios = []
    for _ in range(turns):
        taken = {
            loop: [x - y for x, y in zip(timed(loop, root, job), timed(loop, root, one), strict=True)]
            for loop in (bare, engine)
        }
        cpu, wall = ([taken[loop][i] for loop in (engine, bare)] for i in (0, 1))
        ratios.append(cpu[0] / cpu[1])
        print(
            f"{backbone}: {job.stages[next(iter(job.stages))].steps} steps, CPU {cpu[0]:.1f} s, bare {cpu[1]:.1f} s,"
            f" ratio {ratios[-1]:.3f}; wall {wall[0]:.1f} s, bare {wall[1]:.1f} s",
            flush=True,
        )
    return statistics.median(ratios)


def kills(root: Path, backbone: str, number: int) -> bool:
    """Whether a run that is killed at random moments ends with the bytes of one that is not."""
    job, draw = run_job(backbone, steps=2 * number), random.Random(backbone)
    whole, out = root / f"whole/{backbone}", root / f"kills/{backbone}"
    assert codes(start(root, job, whole, Session(progress=False))) == [0]
    points = [(step, draw.uniform(0, 0.2)) for step in sorted(draw.choices(range(2 * number), k=number))]
    done = killed(root, job, out, points)
    same = files(whole) == files(out)
    print(f"{backbone}: killed {done} times, {'the same bytes' if same else 'OTHER BYTES'}", flush=True)
    return same and done > number // 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="of a block (default: 30)")
    parser.add_argument("--turns", type=int, default=3, help="blocks of each loop (default: 3)")
    parser.add_argument("--kills", type=int, default=20, help="on each backbone (default: 20)")
    parser.add_argument("--backbones", nargs="*", default=BACKBONES, help="default: both")
    args = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photographs(root)
        for backbone in args.backbones:
            train_here(root, base_job(backbone), root / f"bases/{backbone}", Session(progress=False))
            if args.turns and (ratio := speed(root, backbone, args.seconds, args.turns)) > SLOWER:
                missed.append(f"{backbone}: a step takes {ratio:.3f} times that of the bare loop, over {SLOWER}")
            if args.kills and not kills(root, backbone, args.kills):
                missed.append(f"{backbone}: kills")
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
