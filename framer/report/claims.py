"""What the paper claims and what the scores say to it: FRAMER against its baseline, a verdict a set and metric."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from framer.report.cells import Cell, Table, mean_of, paper_name, shared_seeds
from framer.report.fairness import Fairness
from framer.report.paper_numbers import Ledger, Published, same_definition
from framer.report.statistics import (
    LEVEL,
    MIN_IMAGES,
    Interval,
    images_needed,
    over_images,
    over_seeds,
    seeds_needed,
    sign_flip,
)
from framer.scoring.score_file import Array
from framer.study.grid import OWN_BASES
from framer.study.study import Study


class Verdict(Enum):
    """What is said of a claim that FRAMER scores better than its baseline."""

    CONFIRMED = "confirmed"
    """The corrected intervals over images and over training seeds exclude zero in the claimed direction."""
    CHECKPOINT = "holds for this checkpoint"
    """One training seed: the corrected interval over images excludes zero in the claimed direction."""
    CONTRADICTED = "contradicted"
    """As `CONFIRMED`, in the other direction."""
    CHECKPOINT_CONTRADICTED = "fails for this checkpoint"
    """As `CHECKPOINT`, in the other direction."""
    UNDECIDED = "undecided"
    """An interval holds zero, or there is none."""
    INCOMPARABLE = "not comparable"
    """The claim is about another definition of the metric or about other networks, or the arms differ in more."""
    MISSING = "n/a"
    """There is no score of the one or the other."""


DIRECT = (Verdict.CONFIRMED, Verdict.CHECKPOINT)


@dataclass(frozen=True)
class Claim:
    """FRAMER's cell against its baseline's, and the verdict. Differences and gains keep the metric's own sign."""

    ours: Cell
    baseline: Cell
    label: str
    baseline_label: str
    verdict: Verdict
    reason: str | None = None
    unfair: str | None = None
    """In what the two differ besides FRAMER, where they do; the verdict is then `INCOMPARABLE`."""
    seeds: tuple[int | None, ...] = ()
    """The training seeds that both have; all that is said here is over these."""
    difference: float | None = None
    interval: Interval | None = None
    """Of the difference over images, at `level`."""
    seeds_interval: Interval | None = None
    """Of the difference over training seeds, at `level`."""
    level: float = LEVEL
    """Bonferroni-corrected for the claims of one column."""
    p: float | None = None
    """Of a two-sided sign-flip test over images, uncorrected."""
    gain: float | None = None
    """The difference in percent of the baseline's mean, as the paper prints it."""
    gain_interval: Interval | None = None
    """Of the gain at 95%: over training seeds, or over images where there is one."""
    published: Published | None = None
    """The gain that the paper prints, percent."""
    size: bool | None = None
    """Whether `gain_interval` holds the published gain; None where the question does not arise."""
    images_needed: int | None = None
    seeds_needed: int | None = None

    @property
    def size_text(self) -> str:
        """Whether the size of the gain was reproduced, in words; and where only others tell what size that is."""
        if self.size is None:
            return ""
        told = "second-hand " * bool(self.published and self.published.status == "second-hand")
        return f"{told}size {'' if self.size else 'not '}reproduced"

    @property
    def need_text(self) -> str:
        """What would decide, in words; empty where something is decided."""
        if self.verdict is not Verdict.UNDECIDED:
            return ""
        if self.interval is None:
            return f"needs {MIN_IMAGES} images or more"
        unit, number = ("seeds", self.seeds_needed) if self.interval.excludes_zero() else ("images", self.images_needed)
        # An estimate is good for two digits.
        return f"needs about {int(float(f'{number:.2g}')):,} {unit}" if number else f"no number of {unit} would decide"

    @property
    def text(self) -> str:
        """The verdict in words."""
        parts = (self.verdict.value, "unfair" * bool(self.unfair), self.size_text, self.need_text)
        return ", ".join(part for part in parts if part)

    @property
    def by_image(self) -> Array | None:
        """The difference on each image, mean over `seeds`, shape (images,)."""
        ours, base = self.ours.at(self.seeds), self.baseline.at(self.seeds)
        return None if ours is None or base is None or not self.seeds else ours.mean(0) - base.mean(0)


def baseline_of(study: Study, arm: str) -> str | None:
    """The arm that is trained without the loss, with the same settings if there is one: `unfair` says what differs.

    Published weights are none, since their training is not ours; neither are images that others restored.

    Returns:
        None for arms without the loss, or without such a partner.
    """
    config = study.arms[arm]
    if config.recipe is None or config.untrained:
        return None
    others = [
        name
        for name, other in study.config.arms.items()
        if other.backbone == config.backbone and not (other.recipe or other.untrained or other.checkpoint)
    ]
    return min(others, key=lambda name: study.arms[name].settings != config.settings, default=None)


def claims(study: Study, table: Table, ledger: Ledger) -> list[Claim]:
    """The claims under one protocol, in reading order: sets, then metrics, then arms.

    A column of claims, those of one set and metric, is corrected together: each interval has level 1 - 0.05 / m.
    """
    found = []
    fairness = Fairness(study)
    pairs = [(arm, partner) for arm in study.config.arms if (partner := baseline_of(study, arm))]
    for section in table.sections:
        lines = {line.arm: line for line in section.methods}
        for number in range(len(table.metrics)):
            column = [(lines[arm], lines[other]) for arm, other in pairs if {arm, other} <= lines.keys()]
            column = [(a, b) for a, b in column if a.cells[number].asked and b.cells[number].asked]
            tested = sum(a.cells[number].mean is not None and b.cells[number].mean is not None for a, b in column)
            level = 1 - (1 - LEVEL) / max(tested, 1)
            for ours, base in column:
                cells = (ours.cells[number], base.cells[number])
                found.append(_claim(study, ledger, fairness, *cells, ours.label, base.label, level))
    return found


def summary(found: Sequence[Claim]) -> str:
    """The verdicts, counted, as one sentence."""
    counts = {verdict: sum(claim.verdict is verdict for claim in found) for verdict in Verdict}
    parts = [f"{count} {verdict.value}" for verdict, count in counts.items() if count]
    sizes = Counter(claim.size_text for claim in found if claim.size)
    return (
        "; ".join([f"{len(found)} claims: {', '.join(parts)}", *(f"{text} in {n}" for text, n in sizes.items())]) + "."
    )


def _claim(
    study: Study, ledger: Ledger, fairness: Fairness, ours: Cell, base: Cell, label: str, base_label: str, level: float
) -> Claim:
    name = paper_name(study, ours.arm)
    printed = ledger.gain(name, ours.set, ours.metric) if name else ()
    published = printed[0] if printed else None
    missing = Claim(ours, base, label, base_label, Verdict.MISSING, ours.reason or base.reason, published=published)
    seeds = shared_seeds((ours, base))
    values, base_values = ours.at(seeds), base.at(seeds)
    if values is None or base_values is None:
        return missing
    more = fairness.objection(ours, base, seeds)
    if not seeds:
        return replace(missing, verdict=Verdict.INCOMPARABLE, reason=more, unfair=more)
    better = 1 if ours.metric.higher_is_better else -1
    by_image = values.mean(0) - base_values.mean(0)
    by_seed = (values - base_values).mean(1)
    difference = math.fsum(by_image) / len(by_image)
    interval, over = over_images(by_image, level=level), over_seeds(by_seed, level)
    over_base = (
        over_images(by_image, base_values.mean(0)) if len(seeds) < 2 else over_seeds(_relative(by_seed, base_values))
    )
    gain_interval = over_base and Interval(100 * over_base.low, 100 * over_base.high)
    reason = more or _incomparable(study, ours, published)
    verdict = Verdict.INCOMPARABLE if reason else _verdict(better, interval, over, len(seeds))
    size = None
    if verdict in DIRECT and published and published.status != "conflict" and gain_interval:
        size = gain_interval.holds(published.number - published.rounding, published.number + published.rounding)
    images, more_seeds = _needed(verdict, interval, by_image, by_seed, level)
    return replace(
        missing,
        verdict=verdict,
        reason=reason,
        unfair=more,
        seeds=seeds,
        difference=difference,
        interval=interval,
        seeds_interval=over,
        level=level,
        p=float(sign_flip(by_image[None])[0]),
        gain=100 * difference / (mean_of(base_values) or math.nan),
        gain_interval=gain_interval,
        size=size,
        images_needed=images,
        seeds_needed=more_seeds,
    )


def _relative(by_seed: Array, base: Array) -> Array:
    """The gain of each training seed. Arms share their seeds, so that equal seeds are pairs."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(by_seed / base.mean(1))


def _verdict(better: int, interval: Interval | None, seeds: Interval | None, n_seeds: int) -> Verdict:
    if interval is None or not interval.excludes_zero():
        return Verdict.UNDECIDED
    positive = (interval.low > 0) == (better > 0)
    if n_seeds < 2:
        return Verdict.CHECKPOINT if positive else Verdict.CHECKPOINT_CONTRADICTED
    if seeds is None or not seeds.excludes_zero():
        return Verdict.UNDECIDED
    return Verdict.CONFIRMED if positive else Verdict.CONTRADICTED


def _needed(
    verdict: Verdict, interval: Interval | None, by_image: Array, by_seed: Array, level: float
) -> tuple[int | None, int | None]:
    """Images where those leave it open, otherwise training seeds."""
    if verdict is not Verdict.UNDECIDED or len(by_image) < 2:
        return None, None
    if interval is None or not interval.excludes_zero():
        return images_needed(by_image, level), None
    return None, seeds_needed(by_seed, level) if len(by_seed) > 1 else None


def _incomparable(study: Study, ours: Cell, published: Published | None) -> str | None:
    """Why the paper's claim is not about this cell."""
    backbone = study.arms[ours.arm].backbone
    if backbone and study.config.backbones[backbone].base in OWN_BASES:
        return "the networks are tiny and are not the paper's"
    if published and not same_definition(published, ours.metric):
        if published.protocol == "unknown":
            return f"how the paper computed {ours.metric.title} is not known"
        return f"the paper's {ours.metric.title} is that of protocol {published.protocol}, this is {ours.metric.id}"
    return None
