"""Training: its speed against a bare PyTorch loop, and twenty kills at random moments.

The loop is timed with all that it does by default: TensorBoard, checks of every value, checkpoints every ten minutes.
Both loops take turns in blocks, so that a machine whose load drifts does so for both.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/engine"))

from trainings import BACKBONES, SEEDS, base_job, codes, files, killed, photographs, run_job, start, train_here

from framer.data.pairs import TrainingPairs
from framer.engine import checkpoint
from framer.engine.batches import Batches
from framer.engine.runtime import deterministic, seeded
from framer.engine.session import Session
from framer.method import FramerLoss, Recipe
from framer.provenance import derive_seed
from framer.study import TrainJob

SLOWER = 1.05
"""The most that a step may take, in steps of the bare loop."""


def bare(root: Path, job: TrainJob) -> float:
    """Seconds of the steps of a run by the shortest loop that makes the same weights."""
    deterministic(job.threads)
    backbone, _ = checkpoint.load_base(root / f"bases/{job.backbone}", job.backbone, job.settings)
    [(stage, settings)] = job.stages.items()
    with seeded(derive_seed(job.seeds["init"], stage)):
        backbone.adapt(stage)
    backbone.add_heads()
    framer = FramerLoss(Recipe.named(str(job.recipe)))
    seeds = {axis: derive_seed(seed, stage) for axis, seed in SEEDS.items()}
    batches = Batches(
        TrainingPairs([root / "photos"], settings.crop, job.data.degradation, seeds["data"]), settings, seeds
    )
    weights = list(backbone.trainable().values())
    optimiser = torch.optim.AdamW(weights, lr=settings.lr, weight_decay=settings.weight_decay)
    started = time.perf_counter()
    for step in range(settings.steps):
        loss = backbone.training_loss(batches.batch(step), framer)
        optimiser.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.clip)
        optimiser.step()
    return time.perf_counter() - started


def engine(root: Path, job: TrainJob, out: Path) -> float:
    """Seconds of the steps of a run by the engine, as it measures them itself."""
    train_here(root, job, out, Session(progress=False, trackers=("tensorboard",), tracking=root / "tracking"))
    [(stage, settings)] = job.stages.items()
    said = json.loads((root / "tracking" / out.name / f"speed-{stage}.json").read_text())
    return float(said["seconds"] * settings.steps * settings.batch)


def speed(root: Path, backbone: str, seconds: float, turns: int) -> float:
    """How much longer a step takes than in the bare loop: the median over turns."""
    probe = bare(root, run_job(backbone, steps=20))
    job = run_job(backbone, steps=max(20, round(20 * seconds / probe)))
    ratios = []
    for turn in range(turns):
        times = {"bare": bare(root, job), "engine": engine(root, job, root / f"speed/{backbone}-{turn}")}
        ratios.append(times["engine"] / times["bare"])
        print(f"{backbone}: {times['engine']:.1f} s, bare {times['bare']:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
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
    args = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photographs(root)
        for backbone in BACKBONES:
            train_here(root, base_job(backbone), root / f"bases/{backbone}", Session(progress=False))
            if args.turns and (ratio := speed(root, backbone, args.seconds, args.turns)) > SLOWER:
                missed.append(f"{backbone}: a step takes {ratio:.3f} of the bare loop's, over {SLOWER}")
            if args.kills and not kills(root, backbone, args.kills):
                missed.append(f"{backbone}: kills")
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
