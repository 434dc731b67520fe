"""FramerLoss against the plain form of the same recipe: time and peak memory of loss and backward.

Each runs in a process of its own, on the same maps; the results are compared before any number is printed.

    python bench/bench_method.py
    python bench/bench_method.py --device cuda
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from plain_framer import plain_released
from torch import Tensor

from framer import FramerLoss, Recipe

LAYERS, SHAPE = 24, (16, 16, 64, 64)
SLOWEST, LARGEST = 1 / 3, 1 / 2
"""What the loss must reach: time and peak memory as a fraction of the plain form's."""


def inputs(device: str) -> tuple[list[Tensor], Tensor, list[int]]:
    """Students, teacher and negatives on which both forms mean the same."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.stack([unambiguous(generator) for _ in range(SHAPE[0])])
    students = [torch.randn(SHAPE, generator=generator).to(device).requires_grad_() for _ in range(LAYERS)]
    negatives = [(i + 1 + int(torch.randint(LAYERS - 1, (), generator=generator))) % LAYERS for i in range(LAYERS)]
    return students, teacher.to(device), negatives


def unambiguous(generator: torch.Generator) -> Tensor:
    """A map (C, H, W) whose threshold parts no coefficient from its twin.

    Here 0.2 of the coefficients is a whole number, so that the threshold is one of them. Where the rounding of the FFT
    puts its twin below it, the plain form has the two in different bands; the loss never does.
    """
    while True:
        x = torch.randn(SHAPE[1:], generator=generator)
        magnitude = torch.fft.fft2(x).abs()
        low = magnitude < magnitude.quantile(0.2)
        if torch.equal(low, low.flip(-2, -1).roll((1, 1), (-2, -1))):
            return x


def peak(device: str) -> float:
    """Most memory so far, MiB: of the device, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def clock(device: str) -> float:
    """Seconds: of this process on its one CPU thread, whatever else the machine does, or of the clock with a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def measure(form: str, device: str, repeats: int, out: Path) -> None:
    """Time one form; write loss and gradients to `out`, print the numbers as JSON."""
    torch.set_num_threads(1)
    students, teacher, negatives = inputs(device)
    loss = FramerLoss(Recipe.named("released"))
    before, seconds = peak(device), []
    for _ in range(repeats + 2):
        for student in students:
            student.grad = None
        start = clock(device)
        value = (
            plain_released(students, teacher, negatives) if form == "plain" else loss(students, teacher, negatives).loss
        )
        value.backward()
        seconds.append(clock(device) - start)
    torch.save([value.detach().cpu(), *(student.grad.cpu() for student in students)], out)
    # The first two runs get their memory from the system; a training loop does that once.
    print(json.dumps({"seconds": statistics.median(seconds[2:]), "first": seconds[0], "mib": peak(device) - before}))


def transforms(device: str, repeats: int = 5) -> float:
    """Seconds of the transforms alone that the loss needs: two a map, and one back."""
    torch.set_num_threads(1)
    x = torch.randn(SHAPE, device=device)
    seconds = []
    for _ in range(repeats):
        start = clock(device)
        for _ in range(LAYERS):
            torch.fft.rfft2(x)
            torch.fft.irfft2(torch.fft.rfft2(x), s=SHAPE[-2:])
        seconds.append(clock(device) - start)
    return min(seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--form", choices=["plain", "loss"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.form:
        measure(args.form, args.device, args.repeats, args.out)
        return 0

    numbers, results = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for form in ("plain", "loss"):
            out = Path(folder) / f"{form}.pt"
            command = [sys.executable, __file__, "--form", form, "--out", str(out), "--device", args.device]
            run = subprocess.run(
                [*command, "--repeats", str(args.repeats)],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                check=True,
                capture_output=True,
                text=True,
            )
            numbers[form], results[form] = json.loads(run.stdout), torch.load(out, weights_only=True)
    off = [((a - b).norm() / b.norm()).item() for a, b in zip(results["loss"], results["plain"], strict=True)]
    plain, loss = numbers["plain"], numbers["loss"]
    time_ratio, memory_ratio = loss["seconds"] / plain["seconds"], loss["mib"] / plain["mib"]
    print(f"{LAYERS} layers of {SHAPE}, float32, recipe released, loss and backward, {args.device}")
    print(f"  plain  {plain['seconds']:.3f} s (first {plain['first']:.2f} s)  {plain['mib']:6.0f} MiB")
    print(f"  loss   {loss['seconds']:.3f} s (first {loss['first']:.2f} s)  {loss['mib']:6.0f} MiB")
    print(f"  {1 / time_ratio:.1f}x as fast, {memory_ratio:.2f} of the memory")
    print(f"  the transforms alone take {transforms(args.device):.3f} s")
    print(f"  relative difference: loss {off[0]:.1e}, gradients at most {max(off[1:]):.1e}")
    same = off[0] < 1e-5 and max(off) < 1e-4
    return 0 if same and time_ratio <= SLOWEST and memory_ratio <= LARGEST else 1


if __name__ == "__main__":
    sys.exit(main())
