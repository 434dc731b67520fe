"""Two cells of one set, metric and protocol: their paired difference, its intervals and its p-value."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from framer.report.cells import Cell, shared_seeds
from framer.report.crossed import half_width, needed, p_value, spread
from framer.report.statistics import LEVEL, Interval, holm, over_images, over_seeds
from framer.scoring.score_file import Array

ALPHA = 1 - LEVEL


class Scope(Enum):
    """What a test generalizes to."""

    CROSSED = "seeds and images"
    """The methods: other training seeds, and other images like these."""
    IMAGES = "images"
    """These checkpoints on other images: one training seed, or methods that are not trained here."""
    SEEDS = "seeds"
    """Other training seeds on these images: metrics of whole sets, such as FID."""
    NONE = ""
    """One number per method: nothing can be tested."""


@dataclass(frozen=True)
class Comparison:
    """A paired difference, ours minus theirs, in the metric's own sign.

    Attributes:
        ours: a cell.
        theirs: another one, with scores of the same images.
        seeds: training seeds that both have, or those of the one where the other has a single row.
        values: differences, shape (seeds, images), one row where seeds cannot be paired.
        difference: their mean.
        scope: what p-value and interval generalize to.
        copies: whether several seeds gave the same scores and therefore count as one.
        p: two-sided, uncorrected.
        adjusted: corrected for all comparisons that are judged together.
        level: of `interval`.
        interval: crossed interval, or that of the scope; where it is judged, corrected so that it excludes zero exactly
            where `adjusted` decides.
        images_interval: 95%, these checkpoints on new images.
        seeds_interval: 95%, new seeds on these images.
        seeds_needed: seeds with which a difference like the measured one would be decided, at these images.
        images_needed: images with which it would, at these seeds.
    """

    ours: Cell
    theirs: Cell
    seeds: tuple[int | None, ...]
    values: Array
    difference: float
    scope: Scope
    copies: bool = False
    p: float | None = None
    adjusted: float | None = None
    level: float = LEVEL
    interval: Interval | None = None
    images_interval: Interval | None = None
    seeds_interval: Interval | None = None
    seeds_needed: int | None = None
    images_needed: int | None = None

    @property
    def key(self) -> Hashable:
        """Equal for the same numbers under two protocols, which are one test."""
        return self.ours.arm, self.theirs.arm, self.ours.set, self.ours.metric.id

    @property
    def sign(self) -> int:
        """1 where ours is found better, -1 where it is found worse, 0 where nothing is decided."""
        if self.adjusted is None or self.adjusted > ALPHA:
            return 0
        return 1 if (self.difference > 0) == self.ours.metric.higher_is_better else -1

    @property
    def need(self) -> str:
        """What would decide, in words; empty where something is decided."""
        if self.sign:
            return ""
        if self.scope is Scope.NONE:
            return f"needs {'3 training seeds' if self.ours.metric.of_set else '2 images'} or more"
        options = ((self.seeds_needed, "seeds"), (self.images_needed, "images"))
        # An estimate is good for two digits.
        found = [f"{int(float(f'{number:.2g}')):,} {unit}" for number, unit in options if number]
        return (
            f"needs about {' or '.join(found)}" if found else "no larger number of seeds or images alone would decide"
        )


def compare(ours: Cell, theirs: Cell) -> Comparison | None:
    """The comparison of two cells, uncorrected; None where one has no scores, or other images."""
    if ours.values is None or theirs.values is None or ours.values.shape[1] != theirs.values.shape[1]:
        return None
    seeds, values = _paired(ours, theirs)
    reproducibility = ours.metric.reproducibility
    by_seed = values.mean(1)
    copies = len(seeds) > 1 and float(np.ptp(by_seed)) <= reproducibility
    found = spread(values.mean(0, keepdims=True) if copies else values, reproducibility)
    scope = {
        (True, True): Scope.CROSSED,
        (False, True): Scope.IMAGES,
        (True, False): Scope.SEEDS,
        (False, False): Scope.NONE,
    }[found.seeds > 1, found.images > 1]
    difference = math.fsum(values.ravel()) / values.size
    comparison = Comparison(ours, theirs, seeds, values, difference, scope, copies)
    if scope is Scope.NONE:
        return comparison
    half = float(half_width(found, LEVEL))
    return replace(
        comparison,
        p=float(p_value(found)),
        interval=Interval(difference - half, difference + half),
        images_interval=over_images(values.mean(0)),
        seeds_interval=None if copies else over_seeds(by_seed),
    )


def corrected(family: Sequence[Comparison]) -> dict[Hashable, Comparison]:
    """Comparisons that are judged together, by key, each with its Holm-adjusted p-value and its interval.

    All intervals have the level of Holm's last step, `1 - 0.05 / (m - R)` for R decisions among m comparisons: an
    interval excludes zero exactly where the adjusted p-value decides.
    """
    tested = {one.key: one for one in family if one.p is not None}
    adjusted = holm(np.array([one.p for one in tested.values()], dtype=np.float64))
    level = 1 - ALPHA / max(1, int((adjusted > ALPHA).sum()))
    return {key: _judged(one, float(p), level) for (key, one), p in zip(tested.items(), adjusted, strict=True)}


def _judged(one: Comparison, adjusted: float, level: float) -> Comparison:
    found = spread(one.values.mean(0, keepdims=True) if one.copies else one.values, one.ours.metric.reproducibility)
    half = float(half_width(found, level))
    judged = replace(
        one, adjusted=adjusted, level=level, interval=Interval(one.difference - half, one.difference + half)
    )
    if judged.sign:
        return judged
    seeds, images = needed(found, level)
    return replace(judged, seeds_needed=seeds, images_needed=images)


def _paired(ours: Cell, theirs: Cell) -> tuple[tuple[int | None, ...], Array]:
    """Seeds and differences: by seed where both have it or one has a single row, otherwise between their means."""
    assert ours.values is not None
    assert theirs.values is not None
    seeds = shared_seeds((ours, theirs))
    one, other = ours.at(seeds), theirs.at(seeds)
    if seeds and one is not None and other is not None:
        return seeds, one - other
    if min(ours.n_seeds, theirs.n_seeds) == 1:
        return max(ours.seeds, theirs.seeds, key=len), ours.values - theirs.values
    return (None,), ours.values.mean(0, keepdims=True) - theirs.values.mean(0, keepdims=True)
