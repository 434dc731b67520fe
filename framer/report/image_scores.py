"""The scores of single images, by which a gallery is sorted: those of every arm, and the gains of FRAMER."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framer.report.cells import Section, Table
from framer.report.claims import Claim
from framer.report.main_table import signed
from framer.scoring.protocols import Metric

EXTREMES = 3
"""Best and worst images named for each claim."""


@dataclass(frozen=True)
class Column:
    """One metric of one set: by what it is of (an arm, or the difference of two), the value of each image."""

    metric: Metric
    of: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Extreme:
    """The images on which FRAMER gains most and loses most against its baseline in one metric."""

    text: str
    best: tuple[tuple[str, str], ...]
    worst: tuple[tuple[str, str], ...]
    """Stem and difference, from the most extreme on."""


def columns_of(table: Table, claims: Sequence[Claim]) -> dict[str, tuple[Column, ...]]:
    """By set: the metrics of a table that have a value for each image.

    Args:
        table: the scores of an arm are those of its first training seed, whose images a gallery shows.
        claims: of the same table; differences are means over training seeds.
    """
    return {
        section.set: tuple(_column(section, number, metric, claims) for number, metric in enumerate(table.metrics))
        for section in table.sections
    }


def _column(section: Section, number: int, metric: Metric, claims: Sequence[Claim]) -> Column:
    of: dict[str, dict[str, float]] = {}
    for claim in claims:
        by_image = claim.by_image
        if by_image is not None and (claim.ours.set, claim.ours.metric.name) == (section.set, metric.name):
            _add(of, f"{claim.label} − {claim.baseline_label}", section.stems, by_image.tolist())
    for line in (*section.methods, *section.controls):
        values = line.cells[number].values
        if values is not None:
            _add(of, line.label, section.stems, values[0].tolist())
    return Column(metric, of)


def _add(of: dict[str, dict[str, float]], name: str, stems: Sequence[str], values: Sequence[float]) -> None:
    """Add the values of single images; a metric of whole sets has none."""
    if len(values) == len(stems):
        of[name] = dict(zip(stems, values, strict=True))


def extremes_of(claims: Sequence[Claim], stems: dict[str, tuple[str, ...]]) -> dict[str, tuple[Extreme, ...]]:
    """By set: where FRAMER gains and loses most, a metric and arm at a time.

    Args:
        claims: those without values per image are left out.
        stems: the images of each set, in the order of the claims' values.
    """
    found: dict[str, tuple[Extreme, ...]] = {}
    for claim in claims:
        by_image, metric = claim.by_image, claim.ours.metric
        if by_image is None or len(by_image) != len(stems[claim.ours.set]):
            continue
        order = np.argsort(-by_image if metric.higher_is_better else by_image, kind="stable")
        named = [(stems[claim.ours.set][i], signed(float(by_image[i]), metric.digits)) for i in order]
        text = f"{claim.label} against {claim.baseline_label}, {metric.heading}"
        extreme = Extreme(text, tuple(named[:EXTREMES]), tuple(named[: -EXTREMES - 1 : -1]))
        found[claim.ours.set] = (*found.get(claim.ours.set, ()), extreme)
    return found
