"""Small trainings in processes of their own, which can be killed."""

import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np

from framer.backbones.settings import SETTINGS
from framer.data.images import write_png
from framer.engine.session import Session
from framer.errors import Stopped, UserError
from framer.jobs import HeldOut, PretrainJob, TrainingData, TrainJob
from framer.provenance import MEASURED, sha256_file
from framer.schema import Optimisation

SEEDS = {"init": 1, "data": 2, "noise": 3, "negatives": 4}
DATA = TrainingData(("photos",), "pisa_sr")
BACKBONES = ("pisa_sr", "dit4sr")


def optimisation(steps: int, **more: float) -> Optimisation:
    return Optimisation(**{"steps": steps, "batch": 4, "crop": 32, "lr": 1e-3, "warmup": 1, "decay": True, **more})


def base_job(backbone: str, steps: int = 2, **more: float) -> PretrainJob:
    stages = {"base": optimisation(steps, **more)}
    return PretrainJob(backbone, "tiny", {}, DATA, stages, HeldOut("pairs", 3, 5), SEEDS, 1)


def run_job(backbone: str, steps: int = 8, recipe: str | None = "released", **more: float) -> TrainJob:
    stages = {SETTINGS[backbone].stages[0]: optimisation(steps, **more)}
    return TrainJob(backbone, "tiny", {}, DATA, stages, HeldOut("pairs", 3, 5), SEEDS, 1, recipe)


def photographs(root: Path) -> None:
    """root/photos, and root/pairs/{LR,HR} of odd sizes: smooth colours with an edge."""
    for i, (height, width) in enumerate(((48, 64), (56, 40), (36, 20), (36, 20))):
        y, x = np.mgrid[0:height, 0:width] / 32
        planes = [np.sin(a * x + b * y + c) + (x > y) for a, b, c in np.random.default_rng(i).uniform(0.5, 3, (3, 3))]
        image = (np.stack(planes, 2) * 50 + 100).clip(0, 255).astype(np.uint8)
        if i < 2:
            write_png(root / f"photos/{i}.png", image)
        else:
            write_png(root / f"pairs/HR/{i}.png", image)
            write_png(root / f"pairs/LR/{i}.png", image[::4, ::4])


def train_here(root: Path, job: PretrainJob, out: Path, session: Session) -> None:
    """Train in this process; a run starts from root/bases/BACKBONE."""
    from framer.engine.pretrain import pretrain
    from framer.engine.train import train

    if isinstance(job, TrainJob):
        train(job, root / f"bases/{job.backbone}", [root / "photos"], out, root / "pairs", session)
    else:
        pretrain(job, [root / "photos"], out, root / "pairs", session)


def start(root: Path, job: PretrainJob, out: Path, session: Session, ranks: int = 1) -> list:
    """Start to train in one process a rank. Each ends with 0, with 1 when it was stopped, with 2 at a user's error."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["framer.engine.train", "framer.backbones.pisa_sr", "framer.backbones.dit4sr"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (root, job, out, session, port)
    processes = [context.Process(target=_child, args=(rank, ranks, *arguments)) for rank in range(ranks)]
    for process in processes:
        process.start()
    return processes


def codes(processes: list) -> list[int | None]:
    """Wait for the end of all."""
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def killed(root: Path, job: PretrainJob, out: Path, points: list[tuple[int, float]], ranks: int = 1) -> int:
    """Train with a checkpoint a step, killed at each of the points, and then to the end.

    Args:
        points: checkpoint for which to wait, and seconds after it.

    Returns:
        How often it was killed before its end.
    """
    kills = 0
    session = Session(progress=False, every=0)
    for step, delay in points:
        processes = start(root, job, out, session, ranks)
        wait_for_step(out, step, processes)
        time.sleep(delay)
        for process in processes:
            process.kill()
        kills += any(code == -signal.SIGKILL for code in codes(processes))
    assert codes(start(root, job, out, session, ranks)) == [0] * ranks
    return kills


def checkpoints(out: Path) -> list[Path]:
    return sorted((out / ".unfinished").glob("*.safetensors"))


def wait_for_step(out: Path, step: int, processes: list) -> None:
    """Wait until there is a checkpoint of a step, or of a later one, or the training is over."""
    end = time.monotonic() + 120
    while step and all(process.is_alive() for process in processes):
        assert time.monotonic() < end, "no checkpoint"
        if any(int(path.name[:9]) >= step for path in checkpoints(out)):
            return
        time.sleep(0.01)


def files(out: Path) -> dict[str, str]:
    """The sha256 of every file of a folder, with what lies in its subfolders, but for the times in `run.json`."""
    paths = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != MEASURED]
    return {str(path.relative_to(out)): sha256_file(path) for path in paths}


def _child(rank: int, ranks: int, root: Path, job: PretrainJob, out: Path, session: Session, port: int) -> None:
    if ranks > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        train_here(root, job, out, session)
    except Stopped as stopped:
        print(stopped)
        os._exit(1)
    except UserError as error:
        print(error)
        os._exit(2)
