"""Restoring with full-size DiT4SR and random weights: the plain form against merged projections and batched tiles.

Both forms run the same sampler on the same model class, dtype and attention, in turns, and neither is compiled. Plain:
projections as in the checkpoint, tile by tile. Fast: merged projections, and all tiles of an image at a time. Their
outputs are compared before any number is printed. Weights and images are random: the numbers are of cost.

    python bench/bench_dit4sr_restoring.py                                               on a GPU
    python bench/bench_dit4sr_restoring.py --base tiny --device cpu --dtype float32 --steps 2 --sizes 128 --tile 16

Training steps are in bench_full_size.py.
"""

import argparse
import statistics
import sys
import time

import torch

from framer.backbones.dit4sr.model import DiT4SR
from framer.backbones.dit4sr.settings import DiT4SRRestore
from framer.backbones.random import Draws, generator
from framer.backbones.registry import create
from framer.backbones.tiling import Tiles

TARGETS = {512: 1.1, 1024: 2.0}
"""Times as fast as the plain form that the fast one must be, by the side of the restored image."""


def built(args: argparse.Namespace) -> DiT4SR:
    """A model for restoring; all weights random, so that the LR stream counts."""
    torch.manual_seed(0)
    model = create("dit4sr", args.base)
    assert isinstance(model, DiT4SR)
    model.adapt("control")
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.normal_(std=0.02)
    model.network.requires_grad_(False)
    model.network.eval()
    model.process_size = 1
    model.to(args.device, getattr(torch, args.dtype))
    return model


def timed(model: DiT4SR, lr: torch.Tensor, options: DiT4SRRestore) -> tuple[float, float, torch.Tensor]:
    """Seconds, peak GiB of the device (0 on a CPU), and the image."""
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    image = model.restore_image(lr, Draws((generator(1),), generator(1)), options)
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0, image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=["random", "tiny"], default="random")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[512, 1024], help="sides of the restored images, pixels"
    )
    parser.add_argument("--tile", type=int, default=64, help="latent positions")
    parser.add_argument("--tile-batch", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each form, after one that does not count")
    args = parser.parse_args()

    with torch.no_grad():
        models = {form: built(args) for form in ("plain", "fast")}
        plain = DiT4SRRestore(steps=args.steps, tile=args.tile, overlap=3 * args.tile // 8 // 2 * 2, tile_batch=1)
        forms = {"plain": plain, "fast": plain.model_copy(update={"fuse": True, "tile_batch": args.tile_batch})}
        print(f"DiT4SR, base {args.base}, {args.steps} steps, {args.dtype}, {args.device}")
        missed = False
        for size in args.sizes:
            lr = torch.rand(1, 3, size // 4, size // 4, generator=generator(0))
            side = size // models["plain"].codec.factor
            tiles = len(Tiles.plan(side, side, plain.tile, plain.overlap).corners)
            runs = {form: [timed(models[form], lr, options)] for form, options in forms.items()}
            for _ in range(args.repeats):
                for form, options in forms.items():
                    runs[form].append(timed(models[form], lr, options))
            off = (runs["fast"][0][2] - runs["plain"][0][2]).abs().max().item()
            seconds = {form: statistics.median(run[0] for run in found[1:]) for form, found in runs.items()}
            print(f"{size // 4} -> {size} px, {tiles} tiles; the two images differ by at most {off:.1e} of [0, 1]")
            for form, found in runs.items():
                spread = max(run[0] for run in found[1:]) - min(run[0] for run in found[1:])
                peak = max(run[1] for run in found)
                print(f"  {form:5s} {seconds[form]:8.3f} s (spread {spread:.3f})  peak {peak:6.2f} GiB")
            ratio = seconds["plain"] / seconds["fast"]
            print(f"  {ratio:.2f}x as fast; target {TARGETS.get(size, 1.0)}x")
            missed |= args.device == "cuda" and ratio < TARGETS.get(size, 1.0)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
