"""Which methods of a column are marked: bold for all that are tied with the best, underline for the next tier.

Every pair of methods in a column is compared by a sign-flip test over images, and the p-values of all pairs are
adjusted together by Holm's method. All pairs, not only those with the best: which method comes out best is chosen by
the data, and a family that left the other pairs out would not pay for that choice. So the probability that any two
methods of equal expectation are told apart anywhere in a column is at most 5%, and with it that a method which ties
with the best loses its mark.
"""

from collections.abc import Sequence
from enum import Enum
from itertools import combinations

import numpy as np

from framer.report.statistics import MIN_IMAGES, holm, sign_flip
from framer.scoring.score_file import Array

ALPHA = 0.05


class Tier(Enum):
    """How a cell is marked."""

    BEST = "best"
    """Not told apart from the best of its column."""
    NEXT = "next"
    """Not told apart from the best of those that are not `BEST`."""
    NONE = ""


def tiers(columns: Sequence[Array], higher_is_better: bool) -> list[Tier]:
    """The marks of one column: one set, metric and protocol.

    Args:
        columns: one array a method, shape (n,): a value an image (the mean over training seeds), images in one order.
        higher_is_better: of the metric.

    Returns:
        One tier a method; no marks for a single method, or with too few images to tell any two apart.
    """
    if len(columns) < 2 or len(columns[0]) < MIN_IMAGES:
        return [Tier.NONE] * len(columns)
    pairs = list(combinations(range(len(columns)), 2))
    adjusted = holm(sign_flip(np.stack([columns[i] - columns[j] for i, j in pairs])))
    differ = {pair for pair, p in zip(pairs, adjusted, strict=True) if p <= ALPHA}
    means = [float(column.mean()) * (1 if higher_is_better else -1) for column in columns]
    found = [Tier.NONE] * len(columns)
    left = list(range(len(columns)))
    for tier in (Tier.BEST, Tier.NEXT):
        if not left:
            break
        top = max(left, key=lambda method: means[method])
        tied = [method for method in left if (min(top, method), max(top, method)) not in differ]
        for method in tied:
            found[method] = tier
        left = [method for method in left if method not in tied]
    return found
