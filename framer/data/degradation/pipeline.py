"""Second-order degradation x4 (Wang et al., 2021): blur, resize, noise, JPEG, twice, and a last sinc filter.

`draw` decides everything that is random, as plain values; `apply` carries it out. So a pair is a function of an image
and a seed, and no pair needs storing.

Images are (3, H, W) float32 in [0, 1], in steps of 1/255.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from framer.data.degradation.jpeg import jpeg
from framer.data.degradation.kernels import Kernel, draw_kernel, draw_sinc
from framer.data.degradation.operations import Mode, Noise, Size, add_noise, blur, resize, whole
from framer.data.degradation.presets import SCALE, Degradation, Stage

MODES: tuple[Mode, ...] = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class StageDraw:
    """One stage, decided. `kernel` is None where nothing is blurred."""

    kernel: Kernel | None
    size: Size
    mode: Mode
    noise: Noise
    quality: int


@dataclass(frozen=True)
class Draw:
    """A whole degradation, decided, for images of one size.

    Attributes:
        hr: size (H, W) that it was drawn for.
        size, mode: of the last resize.
        sinc: the last filter, or None.
        jpeg_last: the second JPEG comes after the last resize and filter, not before.
    """

    hr: Size
    first: StageDraw
    second: StageDraw
    size: Size
    mode: Mode
    sinc: Kernel | None
    jpeg_last: bool


def degrade(hr: Tensor, preset: Degradation, generator: np.random.Generator) -> Tensor:
    """LR of an HR image: `apply` after `draw`.

    Args:
        hr: (3, H, W) in [0, 1], H and W multiples of 4 and at least 32; `target` has been applied to it.
        preset: ranges of every random parameter.
        generator: advanced by one draw.

    Returns:
        (3, H/4, W/4) in k/255.
    """
    return apply(hr, draw(preset, generator, *hr.shape[-2:]))


def target(hr: Tensor, preset: Degradation) -> Tensor:
    """The HR image of a pair: `hr` itself, or sharpened where the preset does so."""
    return sharpen(hr) if preset.sharpen else hr


def draw(preset: Degradation, rng: np.random.Generator, h: int, w: int) -> Draw:
    """Decide everything that is random in the degradation of an (h, w) image."""
    if h % SCALE or w % SCALE or min(h, w) < 32:
        raise ValueError(f"HR is {h} x {w}: both sides must be multiples of {SCALE}, and at least 32")
    lr = (h // SCALE, w // SCALE)
    return Draw(
        hr=(h, w),
        first=_draw_stage(preset.first, (h, w), rng),
        second=_draw_stage(preset.second, lr, rng),
        size=lr,
        mode=_draw_mode(rng),
        sinc=draw_sinc(rng) if rng.random() < preset.sinc else None,
        jpeg_last=bool(rng.random() < 0.5),
    )


def _draw_stage(stage: Stage, unit: Size, rng: np.random.Generator) -> StageDraw:
    """`unit` is the size that a resize factor of 1 gives: HR in the first stage, LR in the second."""
    kernel = draw_kernel(stage.blur, rng) if rng.random() < stage.blur.probability else None
    low, high = stage.resize
    spans = ((1.0, high), (low, 1.0), (1.0, 1.0))
    factor = rng.uniform(*spans[rng.choice(3, p=stage.directions)])
    mode = _draw_mode(rng)
    gaussian = rng.random() < stage.gaussian
    noise = Noise(
        kind="gaussian" if gaussian else "poisson",
        strength=rng.uniform(*stage.sigma) / 255 if gaussian else rng.uniform(*stage.poisson),
        gray=bool(rng.random() < stage.gray),
        seed=int(rng.integers(2**63)),
    )
    low_quality, high_quality = stage.jpeg
    return StageDraw(
        kernel,
        (int(unit[0] * factor), int(unit[1] * factor)),
        mode,
        noise,
        int(rng.integers(low_quality, high_quality + 1)),
    )


def _draw_mode(rng: np.random.Generator) -> Mode:
    return MODES[rng.integers(len(MODES))]


@torch.no_grad()
def apply(hr: Tensor, draw: Draw) -> Tensor:
    """Carry out a draw.

    Args:
        hr: (3, H, W) float32 in k/255, on the CPU.
        draw: for that size.

    Returns:
        (3, H/4, W/4) float32 in k/255; the same bits for any number of threads.
    """
    if hr.shape != (3, *draw.hr):
        raise ValueError(f"the draw is for HR (3, {draw.hr[0]}, {draw.hr[1]}), not {tuple(hr.shape)}")
    image = jpeg(_stage((hr * 255).round_(), draw.first), draw.first.quality)
    image = _stage(image, draw.second)
    if draw.jpeg_last:
        image = jpeg(_finish(image, draw), draw.second.quality)
    else:
        image = _finish(jpeg(image, draw.second.quality), draw)
    return whole(image).float() / 255


def _stage(image: Tensor, draw: StageDraw) -> Tensor:
    """Whole levels (3, H, W) to float32 levels of the drawn size."""
    if draw.kernel is not None:
        image = blur(image, draw.kernel)
    return add_noise(resize(image, draw.size, draw.mode), draw.noise)


def _finish(image: Tensor, draw: Draw) -> Tensor:
    image = resize(image, draw.size, draw.mode)
    return image if draw.sinc is None else blur(image.double(), draw.sinc)


@torch.no_grad()
def sharpen(image: Tensor) -> Tensor:
    """Unsharp mask of Real-ESRGAN: Gaussian of 51 pixels (sigma 8), weight 0.5, threshold 10/255, softened mask.

    (3, H, W) in k/255; returns float32 in k/255.
    """
    profile = np.exp(-0.5 * (np.arange(-25, 26) / 8) ** 2)
    kernel = np.outer(profile, profile) / profile.sum() ** 2
    levels = whole(image.double() * 255)
    detail = levels - blur(levels, kernel)
    mask = blur((detail.abs() > 10).to(levels) * 255, kernel) / 255
    return whole(mask * (levels + 0.5 * detail).clamp(0, 255) + (1 - mask) * levels).float() / 255
