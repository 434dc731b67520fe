"""Degraded pairs a second on one core, HR 512 x 512, against the plain form.

Both carry out the same draws on the same photographs in turn, so that a busy machine slows both. Drawing counts too.

    python bench/bench_degradation.py
    python bench/bench_degradation.py --preset pisa_sr --pairs 100
"""

import argparse
import sys
import time

import cv2
import numpy as np
import skimage.data
import torch
from plain_degradation import plain_apply

from framer.data.degradation.operations import _poisson_tables
from framer.data.degradation.pipeline import apply, draw
from framer.data.degradation.presets import Degradation

SIDE = 512
FASTEST = 1.5
"""What must be reached: pairs a second as a multiple of the plain form's."""


def photographs() -> list[np.ndarray]:
    """Photographs of 512 x 512 x 3, uint8."""
    coffee = np.pad(skimage.data.coffee(), ((0, 112), (0, 0), (0, 0)), mode="reflect")
    return [skimage.data.astronaut(), np.ascontiguousarray(coffee[:SIDE, :SIDE])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="realesrgan")
    parser.add_argument("--pairs", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    preset = Degradation.named(args.preset)
    plain_images = [image.astype(np.float32) / 255 for image in photographs()]
    images = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in plain_images]
    seconds, means = {"plain": 0.0, "framer": 0.0}, {"plain": [], "framer": []}
    for exponent in range(9):  # Tables of Poisson noise, once in a process for each number of photons
        _poisson_tables(2**exponent)
    for k in range(-4, args.pairs):  # the first four warm up the rest
        start = time.process_time()
        d = draw(preset, np.random.default_rng(abs(k)), SIDE, SIDE)
        drawn = time.process_time()
        plain = plain_apply(plain_images[k % 2], d)
        between = time.process_time()
        made = apply(images[k % 2], d)
        end = time.process_time()
        if k >= 0:
            seconds["plain"] += between - start
            seconds["framer"] += end - between + drawn - start
            for name, lr in (("plain", plain), ("framer", made.permute(1, 2, 0).numpy())):
                means[name].append((lr.mean(), np.abs(np.diff(lr, axis=0)).mean()))
    ratio = seconds["plain"] / seconds["framer"]
    print(f"{args.pairs} pairs of HR {SIDE} x {SIDE}, preset {args.preset}, one core")
    for name in seconds:
        mean, gradient = np.mean(means[name], 0)
        rate = args.pairs / seconds[name]
        print(f"  {name:7} {rate:5.1f} pairs a second; LR mean {mean:.4f}, mean absolute gradient {gradient:.4f}")
    print(f"  {ratio:.2f}x as fast")
    same = np.allclose(np.mean(means["plain"], 0), np.mean(means["framer"], 0), rtol=0.05)
    return 0 if same and ratio >= FASTEST else 1


if __name__ == "__main__":
    sys.exit(main())
