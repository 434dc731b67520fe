"""Which methods of a table are marked: bold for all that are tied with the best, underline for the next tier.

Every pair of methods in every column is compared by a t test over images, and the p-values of the whole table are
adjusted together by Holm's method. All pairs, not only those with the best: which method comes out best is chosen by
the data, and a family that left the other pairs out would not pay for that choice. So the probability that any two
methods of equal expectation differ anywhere in the table is at most 5%, and with it that a method which ties
with the best of a column loses its mark. A step-down over the joint distribution of sign flips has the same power
within a few points (`bench/bench_statistics.py`) and cannot decide small sets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations

import numpy as np
from scipy.special import stdtrit

from framer.report.crossed import p_value, smallest, spread
from framer.report.statistics import holm
from framer.scoring.score_file import Array

ALPHA = 0.05
DETECTABLE = 3.0
"""A test that can only see differences above so many standard deviations of the images' differences decides nothing."""


class Tier(Enum):
    """How a cell is marked."""

    BEST = "best"
    """Not distinguishable from the best of its column."""
    NEXT = "next"
    """Not distinguishable from the best of those that are not `BEST`."""
    UNDECIDED = "undecided"
    """Not distinguishable from the best, by a test on so few images that it could hardly have been."""
    NONE = ""


@dataclass(frozen=True)
class Column:
    """The scores of one set, metric and protocol.

    Attributes:
        values: per method, shape (n,): one value per image (the mean over training seeds), images in one order.
        higher_is_better: of the metric.
        reproducibility: of the metric; smaller differences count as zero.
    """

    values: tuple[Array, ...]
    higher_is_better: bool
    reproducibility: float = 0.0

    @property
    def images(self) -> int:
        """Number of images; 0 without methods."""
        return len(self.values[0]) if self.values else 0

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of methods that are compared: none on a single image."""
        return list(combinations(range(len(self.values)), 2)) if self.images > 1 else []


@dataclass(frozen=True)
class Marks:
    """The marks of one column.

    Attributes:
        tiers: one per method.
        note: why some are undecided, and how many images would decide.
    """

    tiers: tuple[Tier, ...]
    note: str | None = None


def pair_p_values(column: Column) -> Array:
    """P-values of all pairs of a column, shape (pairs,)."""
    pairs = np.array(column.pairs, dtype=int).reshape(-1, 2)
    if not len(pairs):
        return np.empty(0)
    values = np.stack(column.values)
    return p_value(spread((values[pairs[:, 0]] - values[pairs[:, 1]])[:, None, :], column.reproducibility))


def images_to_decide(pairs: int) -> int:
    """The smallest number of images with which a table of so many pairs shows a difference of `DETECTABLE`."""
    return smallest(lambda n: float(stdtrit(n - 1, 1 - ALPHA / 2 / pairs)) <= DETECTABLE * math.sqrt(n), 1) or 0


def marks(table: Sequence[Column]) -> list[Marks]:
    """The marks of all columns of one table, which are corrected together; none for a single method or image."""
    found = [pair_p_values(column) for column in table]
    adjusted = holm(np.concatenate(found)) if found else np.empty(0)
    enough = images_to_decide(len(adjusted)) if len(adjusted) else 0
    parts = np.split(adjusted, np.cumsum([len(one) for one in found])[:-1]) if found else []
    return [_column(column, part, enough) for column, part in zip(table, parts, strict=True)]


def _column(column: Column, adjusted: Array, enough: int) -> Marks:
    if not column.pairs:
        return Marks((Tier.NONE,) * len(column.values))
    differ = {pair for pair, p in zip(column.pairs, adjusted, strict=True) if p <= ALPHA}
    means = [float(one.mean()) * (1 if column.higher_is_better else -1) for one in column.values]
    tiers = [Tier.NONE] * len(means)
    left = list(range(len(means)))
    few = column.images < enough
    for tier in (Tier.BEST, Tier.NEXT):
        if not left:
            break
        top = max(left, key=lambda method: means[method])
        tied = [method for method in left if (min(top, method), max(top, method)) not in differ]
        undecided = few and len(tied) > 1
        for method in tied:
            tiers[method] = Tier.UNDECIDED if undecided else tier
        left = [] if undecided else [method for method in left if method not in tied]
    if Tier.UNDECIDED not in tiers:
        return Marks(tuple(tiers))
    return Marks(tuple(tiers), f"{column.images} images cannot separate methods in a table of this size; {enough} can")
