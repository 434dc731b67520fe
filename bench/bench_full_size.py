"""Training steps of a full-size backbone with random weights: time and peak memory, without and with FRAMER.

The two kinds of step take turns on one model, so that both see the same machine. Weights are random and so are the
images: the numbers are of cost, not of quality.

    python bench/bench_full_size.py --backbone pisa_sr --device cuda
    python bench/bench_full_size.py --backbone pisa_sr --device cpu --size 128 --batch 1 --repeats 1 --dtype float32
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from framer import FramerLoss, Recipe
from framer.backbones.base import Backbone, Batch, StepLoss
from framer.backbones.random import Draws, generator
from framer.backbones.registry import create

SETTINGS: dict[str, dict[str, Any]] = {
    # LPIPS needs weights that are not random.
    "pisa_sr": {"lpips": 0},
    "dit4sr": {},
}
Timed = tuple[float, float]


def random_batch(size: int, batch: int) -> Batch:
    """Noise for LR and HR; `size` is the side of HR."""
    draw = generator(0, "bench")
    lr, hr = (torch.rand(batch, 3, side, side, generator=draw) for side in (size // 4, size))
    return Batch(lr, hr, tuple(str(i) for i in range(batch)), Draws.of_step(0, 0, 0, batch))


def timed(device: torch.device, work: Callable[[], Any]) -> Timed:
    """Seconds, and peak memory in GiB: of the device during the work, or of this process so far.

    Without a GPU the seconds are this process's own, whatever else the machine does.
    """
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
        return clock() - started, torch.cuda.max_memory_allocated() / 2**30
    return clock() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def steps(model: Backbone, batch: Batch, repeats: int) -> dict[str, list[Timed]]:
    """Optimiser steps, baseline and FRAMER in turns; of each the first is not counted where there are more."""
    framer = FramerLoss(Recipe.named("released"))
    optimiser = torch.optim.AdamW(model.trainable().values(), lr=5e-5)
    measured: dict[str, list[Timed]] = {"baseline": [], "FRAMER": []}

    def step(loss: FramerLoss | None) -> StepLoss:
        optimiser.zero_grad()
        terms = model.training_loss(batch, loss)
        terms.total.backward()
        torch.nn.utils.clip_grad_norm_(model.trainable().values(), 1.0)
        optimiser.step()
        return terms

    for _ in range(repeats):
        for name, loss in (("baseline", None), ("FRAMER", framer)):
            measured[name].append(timed(model.device, lambda loss=loss: step(loss)))
    return {name: runs[min(3, len(runs) - 1) :] for name, runs in measured.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=sorted(SETTINGS), required=True)
    parser.add_argument("--base", choices=["random", "tiny"], default="random")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--size", type=int, default=512, help="side of the HR crop, pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=13, help="steps of each kind; the first three do not count")
    parser.add_argument("--set", action="append", default=[], metavar="KEY", help="a boolean setting to switch on")
    args = parser.parse_args()

    if args.device == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create(args.backbone, args.base, SETTINGS[args.backbone] | dict.fromkeys(args.set, True))
    model.to(args.device, getattr(torch, args.dtype))
    model.network.train()
    lr = torch.rand(1, 3, args.size // 4, args.size // 4, generator=generator(1))
    print(f"{args.backbone}, base {args.base}: {sum(p.numel() for p in model.network.parameters()) / 1e6:.1f} M")
    print(f"{args.size} px, batch {args.batch}, {args.dtype}, {args.device}, {torch.get_num_threads()} CPU threads")
    for stage in model.settings.stages:
        model.adapt(stage)
        model.add_heads("x0")
        trained = sum(p.numel() for p in model.trainable().values())
        runs = steps(model, random_batch(args.size, args.batch), args.repeats)
        medians = {name: statistics.median(seconds for seconds, _ in found) for name, found in runs.items()}
        peaks = {name: max(memory for _, memory in found) for name, found in runs.items()}
        print(f"stage {stage}: {trained / 1e6:.3f} M trained, heads included")
        for name in runs:
            spread = max(seconds for seconds, _ in runs[name]) - min(seconds for seconds, _ in runs[name])
            print(f"  {name:9s} {medians[name]:8.3f} s a step (spread {spread:.3f})  peak {peaks[name]:6.2f} GiB")
        ratio = medians["FRAMER"] / medians["baseline"], peaks["FRAMER"] / peaks["baseline"]
        print(f"  FRAMER takes {ratio[0]:.3f} of the time and {ratio[1]:.3f} of the memory")
    draws = Draws((generator(0),), generator(0))
    seconds, memory = timed(model.device, lambda: model.restore_image(lr, draws))
    print(f"restoring one image of {args.size} px: {seconds:.3f} s, peak {memory:.2f} GiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
