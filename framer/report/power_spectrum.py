"""Radial power spectra: how much of each spatial frequency an image holds."""

import numpy as np
from numpy.typing import NDArray

BINS = 48


def radial_power(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Power of an image's luma by radial frequency.

    The luma (BT.601, 0 to 255) loses its mean and is windowed (Hann), so that its borders do not leak into all
    frequencies. Power is |FFT|^2 over the window's energy, its mean over rings of equal width.

    Args:
        rgb: (H, W, 3).

    Returns:
        Shape (`BINS`,): from frequency 0 to 0.5 cycles a pixel; beyond, the corners, nothing is counted. NaN where a
        small image has no frequency in a ring.
    """
    luma = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    height, width = luma.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.rfft2((luma - luma.mean()) * window)) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    # A real image's other half plane repeats this one, but for the columns that both share.
    weight = np.full(radius.shape, 2.0)
    weight[:, 0] = 1.0
    if width % 2 == 0:
        weight[:, -1] = 1.0
    ring = np.floor(radius * 2 * BINS).astype(int)
    inside = ring < BINS
    total = np.bincount(ring[inside], (power * weight)[inside], BINS)
    count = np.bincount(ring[inside], weight[inside], BINS)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def frequencies() -> NDArray[np.float64]:
    """The middle of each ring, cycles a pixel."""
    return (np.arange(BINS) + 0.5) / (2 * BINS)


def decibels(rgb: NDArray[np.uint8], scale: int = 1) -> list[int | None]:
    """`radial_power` of a whole image in tenths of a decibel, for a page.

    Args:
        rgb: (H, W, 3).
        scale: pixels of the page's other images in one of this one. Its power is given as theirs would be: the same
            content on `scale`^2 as many pixels has `scale`^2 as much of it at each frequency.

    Returns:
        `BINS` levels, at least -600; None where there is none. Of a smaller image they end at 0.5 / scale cycles per
        pixel of the others.
    """
    power = np.maximum(radial_power(rgb) * scale**2, 1e-6)
    return [None if np.isnan(level) else round(float(level) * 100) for level in np.log10(power)]
