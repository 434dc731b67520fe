"""Inference for a mean over two crossed random factors: training seeds and test images.

Model: the difference of image i under seed s is `d[s,i] = g + a_s + b_i + c_si`. The mean over both estimates g with
variance `var(a)/S + var(b)/n + var(c)/(S n)`. The means of seeds and of images each give one part of it, with S - 1 and
n - 1 degrees of freedom, and their sum counts the interaction twice, on the safe side.

The p-value of `t = mean / sqrt(of_seeds + of_images)` is the average of both parts' Student p-values, weighted by the
parts: the idea of Cochran and Cox for two unequal variances, applied to p-values. Satterthwaite's approximation is too
optimistic where few seeds dominate. `bench/bench_statistics.py` compares both, and docs/results.md shows the figures.

All functions are vectorized over leading axes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from framer.scoring.score_file import Array

POWER = 0.8
"""Probability of a decision that a plan aims at."""
FURTHER_RUN = 0.965
"""Level of the prediction of one further run: at Student t tails with 3 degrees of freedom it holds 94% of them."""
MOST = 100_000
"""More seeds or images than this are no plan."""
DRAWS = 5_000
"""Simulated studies behind each planned power; its standard error is at most 0.7%."""


@dataclass(frozen=True)
class Spread:
    """A mean and the estimated variance of it, by factor.

    Attributes:
        mean: over seeds and images, shape (...).
        of_seeds: part of its variance that more seeds reduce, shape (...); 0 for a single seed.
        of_images: part of its variance that more images reduce, shape (...); 0 for a single image.
        seeds: number of seeds.
        images: number of images.
    """

    mean: Array
    of_seeds: Array
    of_images: Array
    seeds: int
    images: int

    @property
    def error(self) -> Array:
        """Standard error of the mean, shape (...)."""
        return np.asarray(np.sqrt(self.of_seeds + self.of_images))


def zeroed(difference: Array, reproducibility: float) -> Array:
    """Differences with those that two computations of the same number can show set to zero."""
    return np.where(np.abs(difference) <= reproducibility, 0.0, difference)


def spread(difference: Array, reproducibility: float = 0.0) -> Spread:
    """Mean and its variance by factor.

    Args:
        difference: shape (..., seeds, images).
        reproducibility: of the metric; smaller differences count as zero, and no spread is taken for smaller.
    """
    d = zeroed(difference, reproducibility)
    seeds, images = d.shape[-2:]
    nothing = np.zeros(d.shape[:-2])
    floor = reproducibility**2
    of_seeds = np.maximum(d.mean(-1).var(-1, ddof=1), floor) / seeds if seeds > 1 else nothing
    of_images = np.maximum(d.mean(-2).var(-1, ddof=1), floor) / images if images > 1 else nothing
    return Spread(d.mean((-2, -1)), of_seeds, of_images, seeds, images)


def p_value(found: Spread) -> Array:
    """Two-sided p-value of a mean of zero, shape (...); 1 where mean and spread are zero.

    Over images alone for one seed, over seeds alone for one image.

    Raises:
        ValueError: a single number has no spread.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(found.mean == 0, 0.0, np.abs(found.mean) / found.error)
    return _tails(t, _share(found), found.seeds, found.images)


def half_width(found: Spread, level: float) -> Array:
    """Half the width of the interval at a level, shape (...): what `p_value` does not reject at 1 - level.

    Raises:
        ValueError: a single number has no spread.
    """
    return _quantile(_share(found), found.seeds, found.images, level) * found.error


def prediction_half_width(values: Array) -> Array:
    """Half the width of the interval for one further seed on the same images: `t s sqrt(1 + 1/S)` at `FURTHER_RUN`.

    Args:
        values: one number per seed, shape (..., S), S at least 2.
    """
    seeds = values.shape[-1]
    t = stdtrit(seeds - 1, (1 + FURTHER_RUN) / 2)
    return np.asarray(t * values.std(-1, ddof=1) * math.sqrt(1 + 1 / seeds))


def needed(found: Spread, level: float) -> tuple[int | None, int | None]:
    """Numbers of seeds, at these images, and of images, at these seeds, that decide at `level` with `POWER`.

    Takes the measured mean and spread of one comparison for the true ones: a plan and no promise.

    Returns:
        None where the mean is zero, the factor has one value only, or no number up to `MOST` is enough.
    """
    gain, by_seed, by_image = abs(float(found.mean)), float(found.of_seeds), float(found.of_images)

    def enough(seeds: int, images: int) -> bool:
        one, other = by_seed * found.seeds / seeds, by_image * found.images / images
        share = np.asarray(one / (one + other))
        quantiles = sum(float(_quantile(share, seeds, images, at)) for at in (level, 2 * POWER - 1))
        return quantiles * math.sqrt(one + other) <= gain

    if gain == 0 or by_seed + by_image == 0:
        return None, None
    seeds = smallest(lambda number: enough(number, found.images), found.seeds) if found.seeds > 1 else None
    images = smallest(lambda number: enough(found.seeds, number), found.images) if found.images > 1 else None
    return seeds, images


def smallest(enough: Callable[[int], bool], low: int) -> int | None:
    """The smallest number above `low` for which a monotonic condition holds; None above `MOST`."""
    if not enough(MOST):
        return None
    high = MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Effects:
    """Standard deviations of the model's random parts, in the metric's unit."""

    seed: float
    image: float
    interaction: float


def power(gain: float, effects: Effects, *, seeds: int, images: int, level: float) -> float:
    """Probability that a true gain is found at `level` in its own direction, with normal effects.

    Means of seeds, means of images and the grand mean are independent then, so that `DRAWS` studies are drawn by
    their sufficient statistics. Deterministic.
    """
    rng = np.random.default_rng(0)
    both = effects.interaction**2 / (seeds * images)
    by_seed, by_image = effects.seed**2 / seeds, effects.image**2 / images
    normal = rng.normal(size=DRAWS)
    of_seeds = (by_seed + both) * rng.chisquare(seeds - 1, DRAWS) / (seeds - 1) if seeds > 1 else np.zeros(DRAWS)
    of_images = (by_image + both) * rng.chisquare(images - 1, DRAWS) / (images - 1) if images > 1 else np.zeros(DRAWS)
    mean = gain + math.sqrt(by_seed + by_image + both) * normal
    p = p_value(Spread(mean, of_seeds, of_images, seeds, images))
    return float(((p <= 1 - level) & (mean * gain > 0)).mean())


def gain_for(effects: Effects, *, seeds: int, images: int, level: float, target: float = POWER) -> float:
    """The true gain that `power` finds with probability `target`, within 2%; in the unit of the effects."""
    low, high = 0.0, effects.seed + effects.image + effects.interaction
    if not high:
        return 0.0  # without any spread, every gain is found
    while power(high, effects, seeds=seeds, images=images, level=level) < target:
        low, high = high, 2 * high
    while high - low > 0.02 * high:
        middle = (low + high) / 2
        found = power(middle, effects, seeds=seeds, images=images, level=level) >= target
        low, high = (low, middle) if found else (middle, high)
    return high


def _share(found: Spread) -> Array:
    """The part of the variance that comes of seeds, shape (...)."""
    if found.seeds == 1 and found.images == 1:
        raise ValueError("one seed and one image have no spread")
    if found.seeds == 1 or found.images == 1:
        return np.full(np.shape(found.mean), float(found.images == 1))
    whole = found.of_seeds + found.of_images
    return np.asarray(np.divide(found.of_seeds, whole, out=np.zeros_like(whole), where=whole > 0))


def _tails(t: Array, share: Array, seeds: int, images: int) -> Array:
    if min(seeds, images) == 2:
        # One degree of freedom gives no idea of its own share.
        return np.asarray(2 * stdtr(1, -t))
    seed_tail = stdtr(seeds - 1, -t) if seeds > 1 else 0.0
    image_tail = stdtr(images - 1, -t) if images > 1 else 0.0
    return np.asarray(2 * (share * seed_tail + (1 - share) * image_tail))


def _quantile(share: Array, seeds: int, images: int, level: float) -> Array:
    """t with `_tails(t) = 1 - level`, by bisection between the two Student quantiles."""
    degrees = [number - 1 for number in (seeds, images) if number > 1]
    low = np.broadcast_to(ndtri((1 + level) / 2), share.shape)
    high = np.broadcast_to(stdtrit(min(degrees), (1 + level) / 2), share.shape)
    for _ in range(50):
        middle = (low + high) / 2
        above = _tails(middle, share, seeds, images) > 1 - level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(high)
