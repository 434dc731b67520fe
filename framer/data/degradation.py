"""Second-order degradation x4 (Wang et al., 2021): blur, resize, noise, JPEG, twice, and a last sinc filter.

`draw` decides everything that is random, as plain values; `apply` carries it out. So a pair is a function of an image
and a seed, nothing has to be stored, and another implementation can be held against this one draw by draw.

Images are (3, H, W) float32 in [0, 1]. JPEG goes through libjpeg, 4:2:0, as a camera or a web site would.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from framer.data.kernels import Kernel, draw_kernel, draw_sinc, gaussian
from framer.data.presets import SCALE, Degradation, Stage

Size = tuple[int, int]
Mode = Literal["area", "bilinear", "bicubic"]
MODES: tuple[Mode, ...] = ("area", "bilinear", "bicubic")
LUMA = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class Noise:
    """Noise as a function of its seed.

    Attributes:
        kind: Gaussian (white) or Poisson (shot noise, stronger where it is brighter).
        strength: standard deviation in [0, 1] units, or the factor on the Poisson noise.
        gray: the three channels share one noise.
        seed: of a NumPy generator.
    """

    kind: Literal["gaussian", "poisson"]
    strength: float
    gray: bool
    seed: int


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


def degrade(hr: torch.Tensor, preset: Degradation, generator: np.random.Generator) -> torch.Tensor:
    """LR of an HR image: `apply` after `draw`.

    Args:
        hr: (3, H, W) in [0, 1], H and W multiples of 4 and at least 32; `target` has been applied to it.
        preset: ranges of every random parameter.
        generator: advanced by one draw.

    Returns:
        (3, H/4, W/4) in k/255.
    """
    return apply(hr, draw(preset, generator, *hr.shape[-2:]))


def target(hr: torch.Tensor, preset: Degradation) -> torch.Tensor:
    """The HR image of a pair: `hr` itself, or sharpened where the preset says so."""
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
def apply(hr: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Carry out a draw on (3, H, W) in [0, 1]; returns (3, H/4, W/4) in k/255."""
    if hr.shape != (3, *draw.hr):
        raise ValueError(f"the draw is for HR (3, {draw.hr[0]}, {draw.hr[1]}), not {tuple(hr.shape)}")
    image = _stage(hr, draw.first)
    image = jpeg(image, draw.first.quality)
    image = _stage(image, draw.second)
    if draw.jpeg_last:
        return jpeg(_finish(image, draw), draw.second.quality)
    return quantise(_finish(jpeg(image, draw.second.quality), draw))


def _stage(image: torch.Tensor, draw: StageDraw) -> torch.Tensor:
    if draw.kernel is not None:
        image = blur(image, draw.kernel)
    return add_noise(resize(image, draw.size, draw.mode), draw.noise)


def _finish(image: torch.Tensor, draw: Draw) -> torch.Tensor:
    image = resize(image, draw.size, draw.mode)
    return image if draw.sinc is None else blur(image, draw.sinc)


def blur(image: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """Correlate (C, H, W) with an odd (k, k) kernel, mirrored at the borders (edge pixel not repeated).

    By FFT: its time hardly depends on k. An image smaller than the kernel is mirrored as often as it takes.
    """
    half = kernel.shape[0] // 2
    h, w = image.shape[-2:]
    padded = image[:, _mirrored(h, half)[:, None], _mirrored(w, half)]
    size = (_fast_length(h + 2 * half), _fast_length(w + 2 * half))
    # Correlation is convolution with the kernel turned by half a turn.
    turned = torch.from_numpy(np.ascontiguousarray(kernel[::-1, ::-1])).to(image)
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(turned, s=size)
    return torch.fft.irfft2(spectrum, s=size)[:, 2 * half : 2 * half + h, 2 * half : 2 * half + w]


def _mirrored(length: int, margin: int) -> torch.Tensor:
    """Indices -margin to length + margin - 1, mirrored into the range: 2 1 0 1 2 ... for any margin."""
    index = torch.arange(-margin, length + margin).abs() % (2 * (length - 1))
    return torch.minimum(index, 2 * (length - 1) - index)


@lru_cache
def _fast_length(length: int) -> int:
    """The smallest even 2^a 3^b 5^c that is not below `length`."""
    fast = length + length % 2
    while True:
        rest = fast
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return fast
        fast += 2


def resize(image: torch.Tensor, size: Size, mode: Mode) -> torch.Tensor:
    """(C, H, W) to (C, *size), without antialiasing, as the published pipelines do; `area` averages."""
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image[None], size=size, mode=mode)[0]


def add_noise(image: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Add Gaussian or Poisson noise to (3, H, W) and clip to [0, 1]."""
    rng = np.random.Generator(np.random.SFC64(noise.seed))
    channels = 1 if noise.gray else 3
    shape = (channels, *image.shape[-2:])
    if noise.kind == "gaussian":
        field = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(image)
    else:
        levels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
        if noise.gray:
            weights = image.new_tensor(LUMA)[:, None, None]
            levels = (levels * weights).sum(0, keepdim=True).round().to(torch.uint8)
        field = shot_noise(levels, torch.from_numpy(rng.random(shape, dtype=np.float32)).to(image.device))
    return (image + noise.strength * field).clamp(0, 1)


def shot_noise(levels: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Poisson noise of uint8 levels, P(v p) / v - p with p = level / 255, for one uniform number in [0, 1) a level.

    v, the photons at full brightness, is the number of distinct levels rounded up to a power of two, as in BasicSR. P
    inverts the Poisson distribution at `uniform`, so that noise is a function of its pixel alone.
    """
    photons = 1 << (int(torch.bincount(levels.flatten().long(), minlength=256).count_nonzero()) - 1).bit_length()
    table, width = _poisson_table(photons)
    # A float32 of NumPy's stands for an interval of 2^-24; its middle is neither 0 nor 1.
    uniform = uniform.double() + 2**-25
    level = levels.long()
    counts = torch.searchsorted(table.to(levels.device), level + uniform) - level * width
    return (counts / photons - level / 255).float()


@lru_cache
def _poisson_table(photons: int) -> tuple[torch.Tensor, int]:
    """The cumulative Poisson distributions of all 256 levels, each raised by its level: one ascending list."""
    # Ten standard deviations above the largest mean: the rest is far below the resolution of a uniform float32.
    width = int(photons + 10 * photons**0.5 + 10)
    mean = torch.arange(256, dtype=torch.float64)[:, None] * photons / 255
    below = torch.special.gammaincc(torch.arange(1, width + 1, dtype=torch.float64)[None], mean)
    below[:, -1] = 1
    return (below + torch.arange(256)[:, None]).flatten(), width


def jpeg(image: torch.Tensor, quality: int) -> torch.Tensor:
    """Encode and decode (3, H, W) in [0, 1] by libjpeg, 4:2:0. Returns k/255."""
    pixels = (image.clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    decoded = np.asarray(Image.open(file)).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(decoded)).to(image) / 255


def quantise(image: torch.Tensor) -> torch.Tensor:
    """Clip to [0, 1] and round to k/255, as a saved 8-bit image."""
    return (image.clamp(0, 1) * 255).round() / 255


@torch.no_grad()
def sharpen(image: torch.Tensor) -> torch.Tensor:
    """Unsharp mask of Real-ESRGAN: Gaussian of 51 pixels (sigma 8), weight 0.5, threshold 10/255, softened mask.

    (3, H, W) in [0, 1] with sides above 25; returns k/255.
    """
    kernel = gaussian(51, 8.0, 8.0)
    detail = image - blur(image, kernel)
    mask = blur((detail.abs() * 255 > 10).to(image), kernel)
    return quantise(mask * (image + 0.5 * detail).clamp(0, 1) + (1 - mask) * image)
