"""The bands of a spectrum, as low passes: a band is the difference of two of them.

All masks live on the half spectrum of `torch.fft.rfft2`, (H, W // 2 + 1). The other half of a real map's spectrum
mirrors it: F(-k) is the conjugate of F(k). Work is halved, and a coefficient and its twin in the other half share a
band by construction. `multiplicity` is the number of coefficients of the full spectrum that each column stands for, so
that sums over the half equal sums over the whole.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

BANDS = ("low", "high")


def multiplicity(width: int, like: Tensor) -> Tensor:
    """Number of occurrences of each column of the half spectrum in the full one: 1 or 2.

    (W // 2 + 1,), with dtype and device of `like`. Column 0, and the Nyquist column of an even width, contain their own
    twins; the twins of the other columns are not in the half spectrum.
    """
    count = like.new_full((width // 2 + 1,), 2.0)
    count[0] = 1.0
    if width % 2 == 0:
        count[-1] = 1.0
    return count


def radius(height: int, width: int) -> Tensor:
    """Distance from zero frequency in units of the Nyquist frequency, in [0, sqrt 2]. (H, W // 2 + 1), float64."""
    rows = torch.fft.fftfreq(height, dtype=torch.float64)
    columns = torch.fft.rfftfreq(width, dtype=torch.float64)
    return 2 * torch.hypot(rows[:, None], columns)


def radial(height: int, width: int, cutoff: float, device: torch.device | None = None, edge: float = 0.0) -> Tensor:
    """The paper's split: low where `radius` < `cutoff`. (H, W // 2 + 1), bool, or float64 in [0, 1] with an edge.

    The margin of 1e-9 puts a coefficient that lies on the circle in the high band on every machine, however its radius
    was rounded. It is made on the CPU: some devices have no float64.
    """
    distance = radius(height, width)
    if edge:
        return raised_cosine(distance, cutoff - edge / 2, cutoff + edge / 2)
    return (distance < cutoff - 1e-9).to(device)


def raised_cosine(x: Tensor, start: float | Tensor, end: float | Tensor) -> Tensor:
    """1 up to `start`, 0 from `end` on, half a period of a cosine between; where these are equal, 1 below."""
    width = end - start
    done = torch.where(torch.as_tensor(width > 0), (x - start) / width, (x >= start).to(x.dtype))
    return (1 + (torch.pi * done.clamp(0, 1)).cos()) / 2


def quantiles(magnitude: Tensor, width: int, cutoffs: Sequence[float], edge: float = 0.0) -> list[Tensor]:
    """The released code's split: low where a magnitude is below the `cutoff`-quantile of its image.

    The quantile is over all channels and the full spectrum, with linear interpolation. In a column that contains its
    own twins, these differ by the rounding of the FFT; both get the magnitude of the first, so that a threshold equal
    to a pair's magnitude leaves both high.

    Args:
        magnitude: the half spectrum's magnitudes, (B, C, H, W // 2 + 1), >= 0.
        width: W of the map.
        cutoffs: fractions of coefficients below them, in (0, 1).
        edge: fraction of coefficients around a cutoff over which a low pass falls, as a raised cosine between the
            quantiles at its ends.

    Returns:
        A low pass per cutoff, (B, C, H, W // 2 + 1): bool, or with an edge of the magnitude's dtype in [0, 1].
    """
    height = magnitude.shape[-2]
    row = torch.arange(height, device=magnitude.device)
    first = torch.minimum(row, (height - row) % height)
    own = [0, width // 2] if width % 2 == 0 else [0]
    magnitude = magnitude.clone()
    magnitude[..., own] = magnitude[..., own][..., first, :]
    mirrored = magnitude[..., 1 : (width + 1) // 2]
    everything = torch.cat([magnitude.flatten(1), mirrored.flatten(1)], dim=1)

    def threshold(fraction: float) -> Tensor:
        position = fraction * (everything.shape[1] - 1)
        below = int(position)
        found = _smallest(everything, below)
        if position > below:
            found = found.lerp(_smallest(everything, below + 1), position - below)
        return found[:, None, None, None]

    if not edge:
        return [magnitude < threshold(cutoff) for cutoff in cutoffs]
    return [raised_cosine(magnitude, threshold(x - edge / 2), threshold(x + edge / 2)) for x in cutoffs]


def _smallest(values: Tensor, k: int) -> Tensor:
    """Return the k-th smallest value of each row, counted from 0: (B, N) -> (B,)."""
    # A CPU selects several times as fast as it sorts; on a GPU, torch has no deterministic selection.
    return values.sort(dim=1).values[:, k] if values.is_cuda else values.kthvalue(k + 1, dim=1).values
