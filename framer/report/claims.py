"""What the paper claims and what the scores say to it: FRAMER against its baseline, a verdict per set and metric."""

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from framer.report.cells import Cell, Table, mean_of, shared_seeds
from framer.report.comparison import Comparison, Scope, compare, corrected
from framer.report.crossed import prediction_half_width
from framer.report.fairness import Fairness
from framer.report.paper_numbers import READINGS, Ledger, Published, paper_name, same_definition
from framer.report.statistics import Interval, over_images
from framer.scoring.score_file import Array
from framer.study.grid import OWN_BASES
from framer.study.study import Study


class Verdict(Enum):
    """The answer to the claim that FRAMER scores better than its baseline."""

    CONFIRMED = "confirmed"
    """The corrected crossed interval over seeds and images excludes zero in the claimed direction."""
    CHECKPOINT = "holds for this checkpoint"
    """One training seed: the corrected interval over images excludes zero in the claimed direction."""
    CONTRADICTED = "contradicted"
    """As `CONFIRMED`, in the other direction."""
    CHECKPOINT_CONTRADICTED = "fails for this checkpoint"
    """As `CHECKPOINT`, in the other direction."""
    UNDECIDED = "undecided"
    """The interval holds zero, or there is none."""
    INCOMPARABLE = "not comparable"
    """The paper's claim is about another definition of the metric, other networks or another loss, or the arms differ
    in more."""
    MISSING = "n/a"
    """A score of one of the two is missing."""


DIRECT = (Verdict.CONFIRMED, Verdict.CHECKPOINT)
MEASURED = {1: "better", -1: "worse", 0: "undecided"}
"""What was found here where the paper's claim is about something else."""


@dataclass(frozen=True)
class Claim:
    """FRAMER's cell against its baseline's, and the verdict. Differences and gains keep the metric's own sign.

    Attributes:
        ours: FRAMER's cell, or that of another auxiliary loss.
        baseline: that of the baseline.
        label: the row of `ours`.
        baseline_label: the baseline's.
        verdict: see `Verdict`.
        reading: whether `ours` is a published reading of FRAMER. Of others the paper claims nothing.
        reason: why there is no verdict, or what it is limited to.
        unfair: in what the two differ besides FRAMER, where they do; the verdict is then `INCOMPARABLE`.
        comparison: the paired difference and its test; None where a score is missing.
        gain: the difference in percent of the baseline's mean, as the paper prints it.
        gain_interval: where the gain of one further run on these images lies (96.5%), or, of one seed, the gain of
            this checkpoint on new images (95%).
        published: the gain that the paper prints, percent.
        size: whether `gain_interval` of a further run holds the published gain; None where that cannot be judged.
    """

    ours: Cell
    baseline: Cell
    label: str
    baseline_label: str
    verdict: Verdict
    reading: bool = True
    reason: str | None = None
    unfair: str | None = None
    comparison: Comparison | None = None
    gain: float | None = None
    gain_interval: Interval | None = None
    published: Published | None = None
    size: bool | None = None

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The training seeds that both have; every number of the claim is over these."""
        return self.comparison.seeds if self.comparison else ()

    @property
    def size_text(self) -> str:
        """Whether the size of the gain was reproduced, in words, and whether that size is known from its source."""
        if self.size is None:
            return ""
        known = "second-hand " * bool(self.published and self.published.status == "second-hand")
        return f"{known}size {'' if self.size else 'not '}reproduced"

    @property
    def need_text(self) -> str:
        """What would decide, in words; empty where something is decided."""
        open_ = self.verdict is Verdict.UNDECIDED or self.measured == MEASURED[0]
        return self.comparison.need if self.comparison and open_ else ""

    @property
    def measured(self) -> str:
        """Which is better here, of a claim that is not the paper's; empty of others, and of an unfair one."""
        if self.verdict is not Verdict.INCOMPARABLE or self.unfair or not self.comparison:
            return ""
        one_seed = "for this checkpoint" * (self.comparison.scope is Scope.IMAGES and bool(self.comparison.sign))
        return " ".join(part for part in (MEASURED[self.comparison.sign], one_seed) if part)

    @property
    def text(self) -> str:
        """The verdict in words."""
        parts = (self.words, "unfair" * bool(self.unfair), self.size_text, self.need_text)
        return ", ".join(part for part in parts if part)

    @property
    def words(self) -> str:
        """The verdict without size and need; of another loss what was found, since there is no claim to judge."""
        named = self.verdict.value if self.reading or not self.measured else ""
        return ", ".join(part for part in (self.measured, named) if part)

    @property
    def by_image(self) -> Array | None:
        """The difference on each image, mean over `seeds`, shape (images,)."""
        return self.comparison.values.mean(0) if self.comparison else None


def baseline_of(study: Study, arm: str) -> str | None:
    """The arm that is trained without the loss, with the same settings if there is one: `unfair` lists what differs.

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


def is_reading(study: Study, arm: str) -> bool:
    """Whether an arm trains with FRAMER as published, in the paper's or the released code's reading."""
    recipe = study.arms[arm].recipe
    return recipe is not None and recipe.name in READINGS


def judged_arms(study: Study) -> list[str]:
    """The rows that are held against their baseline: those of `arms`, and the tuned ones."""
    return [*study.config.arms, *study.searches]


def claims(study: Study, found: Sequence[Table], ledger: Ledger) -> list[list[Claim]]:
    """The claims of a study, a list per table in reading order: sets, then metrics, then arms.

    All that can be judged are corrected together, over all sets, metrics and protocols, those on other networks than
    the paper's included; a metric that two protocols define alike counts once. Rows with another auxiliary loss, tuned
    ones among them, are a family of their own: what is tried beside FRAMER changes no verdict on FRAMER.
    """
    fairness = Fairness(study)
    raw = [list(_of_table(study, table, ledger, fairness)) for table in found]
    judged: dict[Hashable, Comparison] = {}
    for reading in (True, False):
        of_family = [claim for one in raw for claim in one if claim.reading == reading and not claim.unfair]
        judged |= corrected([claim.comparison for claim in of_family if claim.comparison])
    return [[_judged(claim, judged) for claim in one] for one in raw]


def summary(found: Sequence[Claim]) -> str:
    """The verdicts, counted, in a sentence or two; other losses than FRAMER are counted apart."""
    others = [claim for claim in found if not claim.reading]
    found = [claim for claim in found if claim.reading]
    rest = Counter(claim.words.split()[0] for claim in others)
    named = ", ".join(f"{count} {word}" for word, count in sorted(rest.items()))
    apart = [f"Other losses against the baselines, {len(others)} comparisons: {named}."] if others else []
    return " ".join([_counted(found)] * bool(found) + apart)


def _counted(found: Sequence[Claim]) -> str:
    counts = {verdict: sum(claim.verdict is verdict for claim in found) for verdict in Verdict}
    parts = [f"{count} {verdict.value}" for verdict, count in counts.items() if count]
    here = Counter(claim.measured.split()[0] for claim in found if claim.measured)
    if here:
        parts.append(f"of which {', '.join(f'{here[word]} {word}' for word in MEASURED.values() if here[word])} here")
    sizes = Counter(claim.size_text for claim in found if claim.size)
    return (
        "; ".join([f"{len(found)} claims: {', '.join(parts)}", *(f"{text} in {n}" for text, n in sizes.items())]) + "."
    )


def _of_table(study: Study, table: Table, ledger: Ledger, fairness: Fairness) -> Iterator[Claim]:
    pairs = [(arm, partner) for arm in judged_arms(study) if (partner := baseline_of(study, arm))]
    for section in table.sections:
        lines = {line.arm: line for line in section.methods}
        for number in range(len(table.metrics)):
            for ours, base in [(lines[arm], lines[other]) for arm, other in pairs if {arm, other} <= lines.keys()]:
                cell, other = ours.cells[number], base.cells[number]
                if cell.asked and other.asked:
                    claim = Claim(cell, other, ours.label, base.label, Verdict.MISSING, is_reading(study, ours.arm))
                    yield _unjudged(study, ledger, fairness, claim)


def _unjudged(study: Study, ledger: Ledger, fairness: Fairness, claim: Claim) -> Claim:
    """A claim with its comparison; undecided, until all are corrected together, or with why it is not judged."""
    ours, base = claim.ours, claim.baseline
    name = paper_name(study, ours.arm)
    printed = ledger.gain(name, ours.set, ours.metric) if name else ()
    claim = replace(claim, published=printed[0] if printed else None, reason=ours.reason or base.reason)
    if ours.values is None or base.values is None:
        return claim
    seeds = shared_seeds((ours, base))
    unfair = fairness.objection(ours, base, seeds)
    if not seeds:
        return replace(claim, verdict=Verdict.INCOMPARABLE, reason=unfair, unfair=unfair)
    comparison = compare(ours, base)
    base_values = base.at(seeds)
    if comparison is None or base_values is None:
        return claim
    reason = unfair or (_incomparable(study, ours, claim.published) if claim.reading else None)
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = 100 * comparison.values.mean(1) / base_values.mean(1)
    return replace(
        claim,
        verdict=Verdict.INCOMPARABLE if reason or not claim.reading else Verdict.UNDECIDED,
        reason=reason,
        unfair=unfair,
        comparison=comparison,
        gain=100 * comparison.difference / (mean_of(base_values) or math.nan),
        gain_interval=_gain_interval(comparison, gains, base_values),
    )


def _gain_interval(comparison: Comparison, gains: Array, base: Array) -> Interval | None:
    """Of a further run where several seeds tell how runs differ, otherwise of this checkpoint on new images."""
    if len(gains) > 1 and not comparison.copies:
        half, mean = float(prediction_half_width(gains)), float(gains.mean())
        return Interval(mean - half, mean + half)
    found = over_images(comparison.values.mean(0), base.mean(0))
    return found and Interval(100 * found.low, 100 * found.high)


def _judged(claim: Claim, judged: Mapping[Hashable, Comparison]) -> Claim:
    one = claim.comparison and judged.get(claim.comparison.key, claim.comparison)
    if one is None or claim.unfair:
        return claim
    if claim.verdict is Verdict.INCOMPARABLE:
        return replace(claim, comparison=one)
    several = one.scope in (Scope.CROSSED, Scope.SEEDS)
    verdict = {
        (1, True): Verdict.CONFIRMED,
        (1, False): Verdict.CHECKPOINT,
        (-1, True): Verdict.CONTRADICTED,
        (-1, False): Verdict.CHECKPOINT_CONTRADICTED,
    }.get((one.sign, several), Verdict.UNDECIDED)
    reason = None
    if one.copies:
        reason = f"the {len(one.seeds)} training seeds have the same difference and count as one checkpoint"
    elif one.scope is Scope.SEEDS:
        reason = "one value per set: judged over training seeds, on these images"
    return replace(claim, comparison=one, verdict=verdict, reason=reason, size=_size(claim, verdict, one))


def _size(claim: Claim, verdict: Verdict, one: Comparison) -> bool | None:
    """Whether the published gain, a single run, is what one further run here would have given."""
    published, interval = claim.published, claim.gain_interval
    if verdict not in DIRECT or one.copies or len(one.seeds) < 2 or not interval:
        return None
    if published is None or published.status == "conflict":
        return None
    return interval.holds(published.number - published.rounding, published.number + published.rounding)


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
