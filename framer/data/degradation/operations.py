"""The operations of the degradation: blur, resize, noise.

Images are (3, H, W) in levels: 0 to 255, where 8-bit images hold whole numbers. Every result has the same
bits for any number of threads.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from framer.data.degradation.kernels import Kernel

Size = tuple[int, int]
Mode = Literal["area", "bilinear", "bicubic"]
TILE = 4
RUN = 2**16
STRIP = 64


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


def blur(image: Tensor, kernel: Kernel) -> Tensor:
    """Correlate (C, H, W) with an odd (k, k) kernel, mirrored at the borders (edge pixel not repeated).

    An image smaller than the kernel is mirrored as often as it takes.

    Args:
        image: float32 of whole levels, whose products with a kernel add up exactly; or float64 of any levels.
        kernel: as `framer.data.degradation.kernels` makes them; for float64, any.

    Returns:
        The same type, in multiples of 2^-16.
    """
    h, w = image.shape[-2:]
    kernel = _trimmed(kernel)
    k = kernel.shape[0]
    if image.dtype == torch.float32:
        return _correlate(image, torch.from_numpy(kernel))
    size = tuple(next_fast_len(side + k - 1, real=True) for side in (h, w))
    # Correlation is convolution with the kernel turned by half a turn.
    turned = torch.from_numpy(kernel[::-1, ::-1].copy()).to(image)
    spectrum = torch.fft.rfft2(_mirrored(image, k // 2), s=size) * torch.fft.rfft2(turned, s=size)
    result = torch.fft.irfft2(spectrum, s=size)[:, k - 1 : k - 1 + h, k - 1 : k - 1 + w]
    return (result * 65536).round() / 65536


def _trimmed(kernel: Kernel) -> Kernel:
    """Without a border of zeros."""
    half = kernel.shape[0] // 2
    reach = int(np.abs(np.argwhere(kernel) - half).max())
    return kernel[half - reach : half + reach + 1, half - reach : half + reach + 1]


def _correlate(image: Tensor, kernel: Tensor) -> Tensor:
    """The sums themselves, as a convolution whose 16 channels are the results in a tile of 4 x 4."""
    (h, w), k = image.shape[-2:], kernel.shape[0]
    bottom, right = -h % TILE, -w % TILE
    shifted = kernel.new_zeros(TILE, TILE, 1, k + TILE - 1, k + TILE - 1)
    for y in range(TILE):
        for x in range(TILE):
            shifted[y, x, 0, y : y + k, x : x + k] = kernel
    result = image.new_empty(len(image), (h + bottom) // TILE, TILE, (w + right) // TILE, TILE)
    # A plane at a time stays in the cache.
    for plane, out in zip(_mirrored(image, k // 2, bottom, right), result, strict=True):
        tiles = F.conv2d(plane[None, None], shifted.flatten(0, 1), stride=TILE)[0].unflatten(0, (TILE, TILE))
        out.copy_(tiles.permute(2, 0, 3, 1))
    return result.flatten(3).flatten(1, 2)[:, :h, :w]


def _mirrored(image: Tensor, margin: int, bottom: int = 0, right: int = 0) -> Tensor:
    """(C, H, W) with a margin all round and some more rows and columns: 2 1 0 1 2 ..., over and over where needed."""
    h, w = image.shape[-2:]
    if margin + max(bottom, right) < min(h, w):
        return F.pad(image, (margin, margin + right, margin, margin + bottom), mode="reflect")
    rows, columns = (
        torch.arange(-margin, length + margin + more).abs() % max(1, 2 * (length - 1))
        for length, more in ((h, bottom), (w, right))
    )
    return image[:, torch.minimum(rows, 2 * (h - 1) - rows)[:, None], torch.minimum(columns, 2 * (w - 1) - columns)]


def resize(image: Tensor, size: Size, mode: Mode) -> Tensor:
    """(C, H, W) to (C, *size) float32, without antialiasing, as the published pipelines do; `area` averages.

    Computed in float64, so that float32 rounds once.
    """
    h, w = image.shape[-2:]
    if (h, w) == size:
        return image.float()
    resized = image.new_empty(len(image), *size, dtype=torch.float32)
    # A plane at a time stays in the cache.
    for plane, out in zip(image, resized, strict=True):
        if mode == "area" and size[0] >= h and size[1] >= w:
            _enlarge_area(plane, out)
        else:
            out.copy_(F.interpolate(plane.double()[None, None], size=size, mode=mode)[0, 0])
    return resized


def _enlarge_area(plane: Tensor, out: Tensor) -> None:
    """Area averaging of (h, w) to an `out` that is no smaller: the mean of one or two pixels along each axis.

    Pixel i of m is the mean from floor(i n / m) to below ceil((i + 1) n / m). Torch's own pooling, for any number of
    pixels, takes twice as long.
    """
    (top, bottom), (left, right) = (
        (i * n // m, ((i + 1) * n - 1) // m)
        for n, m in zip(plane.shape, out.shape, strict=True)
        for i in [torch.arange(m)]
    )
    columns = plane.index_select(1, left).double().add_(plane.index_select(1, right))
    for start in range(0, len(out), STRIP):
        rows = slice(start, start + STRIP)
        pairs = columns.index_select(0, top[rows]).add_(columns.index_select(0, bottom[rows]))
        torch.mul(pairs, 0.25, out=out[rows])


def add_noise(image: Tensor, noise: Noise) -> Tensor:
    """Add Gaussian or Poisson noise to (3, H, W) of any type and clip to [0, 255]; float32."""
    bits = np.random.SFC64(noise.seed)
    noisy = image.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    channels = noisy.view(3, -1) if noise.gray else noisy.view(1, -1)
    if noise.kind == "poisson":
        levels = luma(noisy) if noise.gray else whole(noisy)
        shot = ShotNoise(levels.flatten().to(torch.uint8), noise.strength)
    else:
        normal = _normal_table() * (noise.strength * 255)
    # A run of pixels at a time stays in the cache.
    for start in range(0, channels.shape[1], RUN):
        part = channels[:, start : start + RUN]
        if noise.kind == "gaussian":
            part += normal.index_select(0, random_words(bits, part.shape[1], "<u2"))
        else:
            part += shot.field(start, random_words(bits, part.shape[1], "<i4"))
        part.clamp_(0, 255)
    return noisy


def random_words(bits: np.random.BitGenerator, count: int, dtype: Literal["<u2", "<i4"]) -> Tensor:
    """Random numbers of 16 bits or of 32 with a sign (N), int32, the same on machines of either byte order."""
    raw = bits.random_raw(-(-count * np.dtype(dtype).itemsize // 8)).astype("<u8", copy=False).view(dtype)[:count]
    return torch.from_numpy(raw.astype(np.int32, copy=False))


@lru_cache
def _normal_table() -> Tensor:
    """The standard normal distribution as 2^16 equally likely values, float32: up to 4.3, of variance 1."""
    middles = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    values = torch.special.ndtri(middles)
    return (values / values.square().mean().sqrt()).float()


def whole(image: Tensor) -> Tensor:
    """Levels as an 8-bit image holds them: clipped to [0, 255] and rounded, halves to even."""
    return image.clamp(0, 255).round_()


def luma(image: Tensor) -> Tensor:
    """Levels (3, H, W) to the whole levels of their brightness (H, W), with the weights 0.299, 0.587, 0.114."""
    # Sums below 2^24: exact in float32.
    weights = image.new_tensor((19595, 38470, 7471), dtype=torch.float32)
    return ((weights @ whole(image).flatten(1) + 2**15) / 2**16).floor_().view(image.shape[1:])


class ShotNoise:
    """Poisson noise of an image, 255 strength (P(v p) / v - p) levels with p = level / 255, for a random word a pixel.

    v, the photons at full brightness, is the number of distinct levels rounded up to a power of two, as in BasicSR. P
    is drawn by the alias method (Walker, 1977): one of 256 columns, each of at most two counts. So noise is a function
    of its pixel alone.
    """

    def __init__(self, levels: Tensor, strength: float):
        """`levels` (N): those of the image, uint8."""
        distinct = int(torch.bincount(levels, minlength=256).count_nonzero())
        thresholds, values = _poisson_tables(1 << (distinct - 1).bit_length())
        self.levels = levels
        self.thresholds, self.values = thresholds, values * (strength * 255)

    def field(self, start: int, words: Tensor) -> Tensor:
        """The noise of the pixels from `start` on, float32, for words (n), int32, of 32 random bits."""
        # Eight bits pick the column, sixteen others one of its two counts.
        column = self.levels[start : start + len(words)].int().mul_(256).add_(words & 255)
        second = (words >> 16) >= self.thresholds.index_select(0, column)
        return self.values.index_select(0, column.add_(second, alpha=2**16))


@lru_cache
def _poisson_tables(photons: int) -> tuple[Tensor, Tensor]:
    """For 256 levels and 256 columns each: from which number on, of -2^15 to 2^15 - 1, a column means the second of its
    counts (256 256), int32, and the noise that its first and its second count mean (2 256 256), float32.
    """
    level, column = torch.arange(256)[:, None], torch.arange(256)
    mean = (level * photons).double() / 255
    # Eight standard deviations either side at the least; what lies beyond has less than 10^-14 of the probability.
    first = (mean - 128).floor().clamp(min=0)
    count = first + column
    share = torch.exp(torch.special.xlogy(count, mean) - mean - torch.lgamma(count + 1))
    share *= 256 / share.sum(1, keepdim=True)
    threshold, other, open_ = torch.ones(256, 256).double(), column.repeat(256, 1), torch.ones(256, 256).bool()
    for _ in range(255):
        # The smallest share left fills its column up from the largest.
        low = share.where(open_, torch.inf).argmin(1, keepdim=True)
        high = share.where(open_, -torch.inf).argmax(1, keepdim=True)
        left = share.gather(1, low)
        threshold.scatter_(1, low, left)
        other.scatter_(1, low, high)
        open_.scatter_(1, low, False)
        share.scatter_add_(1, high, left - 1)
    values = torch.stack([count, first + other]) / photons - level / 255
    return (threshold * 2**16 - 2**15).round().flatten().int(), values.flatten().float()
