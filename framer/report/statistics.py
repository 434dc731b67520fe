"""Intervals of one factor, over images by bootstrap or over training seeds by Student's t, and Holm's correction.

Over *images*, the checkpoints are fixed: what holds, holds for them, on images like these. Over *seeds*, the images
are fixed, each trained checkpoint is one draw, and its mean over the images one number. Both at once, which verdicts
rest on, are in `framer.report.crossed`. All randomness is a fixed table of resamples for each number of images:
results repeat to the bit.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import stdtrit

from framer.scoring.score_file import Array

LEVEL = 0.95
RESAMPLES = 4999
MIN_IMAGES = 6
"""With fewer, resamples repeat so much that their quantiles say little."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval; either end may be infinite."""

    low: float
    high: float

    def holds(self, low: float, high: float) -> bool:
        """Whether any of [low, high] lies inside."""
        return self.low <= high and low <= self.high


def over_images(difference: Array, base: Array | None = None, level: float = LEVEL) -> Interval | None:
    """Studentised bootstrap interval of a mean, or of a ratio of means, over images.

    The estimate is `theta = mean(difference) / mean(base)`. Resampled images give `t* = (theta* - theta) / se*`, and
    the interval is `[theta - q_hi se, theta - q_lo se]` with the quantiles of t*: second-order correct on skewed data,
    where a percentile interval is not (Efron and Tibshirani 1993, section 12.5).

    Args:
        difference: one value per image, shape (n,).
        base: what it is relative to, shape (n,), same images; None for the mean itself.
        level: confidence, in (0, 1).

    Returns:
        None for fewer than `MIN_IMAGES`, and for a base whose mean is zero.
    """
    n = len(difference)
    whole = float(n) if base is None else math.fsum(base)
    if n < MIN_IMAGES or whole == 0:
        return None
    theta = math.fsum(difference) / whole
    residual = difference - theta * (1.0 if base is None else base)
    parts = [residual, residual**2] if base is None else [residual, residual**2, residual * base, base, base**2]
    moments = np.stack(parts, axis=1)
    offset, errors = _ratio((_resamples(n) @ moments / n).T)
    error = float(_ratio(moments.mean(0))[1])
    # Differences that are constant up to rounding have no spread to studentise by.
    if error <= 1e-12 * float(np.abs(difference).max()) / abs(whole / n):
        return Interval(theta, theta)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(offset / errors, nan=0.0, posinf=np.inf, neginf=-np.inf)
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Interval(float(theta - high * error), float(theta - low * error))


def holm(p: Array) -> Array:
    """Holm's adjusted p-values: reject where they are at most alpha, and the family-wise error is at most alpha.

    Args:
        p: raw p-values of one family, shape (m,), in any order.
    """
    m, order = len(p), np.argsort(p, kind="stable")
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(m, 0, -1)))
    return adjusted


def over_seeds(values: Array, level: float = LEVEL) -> Interval | None:
    """Student's t interval of the mean of one number per training seed, shape (s,); None for fewer than two."""
    s = len(values)
    if s < 2:
        return None
    mean = math.fsum(values) / s
    half = float(stdtrit(s - 1, (1 + level) / 2)) * float(values.std(ddof=1)) / math.sqrt(s)
    return Interval(mean - half, mean + half)


def _ratio(moments: Array) -> tuple[Array, Array]:
    """Ratio of means r / b and its standard error by linearisation, from the means of r, r^2, r b, b and b^2.

    The first axis has these five, or the first two where b is 1. The error lacks a factor 1 / sqrt(n), which every
    quotient of two of them does without.
    """
    if len(moments) == 2:
        mean, square = moments
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0))
    r, rr, rb, b, bb = moments
    ratio: Array = r / b
    error: Array = np.sqrt(np.maximum(rr - 2 * ratio * rb + ratio**2 * bb, 0.0)) / np.abs(b)
    return ratio, error


@cache
def _resamples(n: int) -> Array:
    """How often each resample draws each image, shape (`RESAMPLES`, n)."""
    return np.random.default_rng([n, 1]).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
