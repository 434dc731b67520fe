"""What a study can confirm before it runs: the gain that its claims find with 80%, by training seeds."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from framer.errors import UserError
from framer.report.cells import tables
from framer.report.claims import baseline_of, claims, is_reading
from framer.report.comparison import ALPHA
from framer.report.crossed import POWER, Effects, gain_for
from framer.report.paper_numbers import Ledger
from framer.scoring.protocols import Metric, Protocol
from framer.study.study import Study

ASSUMED = {"psnr": (Effects(0.05, 0.5, 0.1), Effects(0.2, 0.5, 0.1))}
"""Spreads of the difference of two arms where no study has measured them, in dB: for seeds that agree or do not."""
SEEDS = (3, 5, 8, 10)


def measured_effects(study: Study, missing: Mapping[str, str], datasets: Path) -> dict[str, tuple[Effects, ...]]:
    """The spreads of a finished study's differences by metric: medians over its claims with several seeds.

    Raises:
        UserError: scores are missing or damaged, or no claim has several seeds and images.
    """
    found: dict[str, list[Effects]] = {}
    for claim in (one for ones in claims(study, tables(study, missing, datasets, Ledger()), Ledger()) for one in ones):
        values = claim.comparison.values if claim.comparison else np.empty((0, 0))
        seeds, images = values.shape
        if seeds > 1 and images > 1:
            rest = values - values.mean(1, keepdims=True) - values.mean(0, keepdims=True) + values.mean()
            both = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
            of_seeds = max(0.0, float(values.mean(1).var(ddof=1)) - both / images)
            of_images = max(0.0, float(values.mean(0).var(ddof=1)) - both / seeds)
            found.setdefault(claim.ours.metric.name, []).append(Effects(*np.sqrt([of_seeds, of_images, both])))
    if not found:
        message = "no claim has scores of several seeds and images, from which spreads could be taken"
        raise UserError(message, path=study.path, key="--spreads", code="missing")
    return {
        name: (Effects(*(float(np.median([getattr(one, part) for one in ones])) for part in _PARTS)),)
        for name, ones in found.items()
    }


_PARTS = ("seed", "image", "interaction")


def claims_of(study: Study) -> list[tuple[str, str, Metric]]:
    """The claims that are corrected together, each as arm, set and metric."""
    protocols = [Protocol.named(name) for name in study.config.protocols]
    metrics = {metric.id: metric for protocol in protocols for metric in protocol.select(study.config.metrics)}
    return [
        (arm, name, metric)
        for arm, config in study.config.arms.items()
        if is_reading(study, arm) and baseline_of(study, arm)
        for name in config.sets or study.config.sets
        for metric in metrics.values()
        if study.manifests[name].paired or not metric.needs_hr
    ]


def power_lines(study: Study, effects: Mapping[str, tuple[Effects, ...]] | None = None) -> Iterator[str]:
    """Lines for `framer plan`: per metric and set, the gain that is confirmed with 80%.

    Args:
        study: need not have run.
        effects: measured spreads by metric; None for those of `ASSUMED`.
    """
    family = claims_of(study)
    if not family:
        return
    counts = {len(study.seeds_of(arm)) for arm, _, _ in family}
    level = 1 - ALPHA / len(family)
    seeds = ", ".join(map(str, sorted(counts)))
    yield f"Verdicts: {len(family)} claims are corrected together; training seeds: {seeds}."
    if 1 in counts:
        yield "One training seed confirms nothing: its verdict is about the checkpoint."
    columns = sorted({*SEEDS, *(count for count in counts if count > 1)})
    yield f"Gain that is confirmed with {POWER:.0%}, by training seeds" + " (assumed spreads)" * (effects is None) + ":"
    known = {(name, metric.name) for _, name, metric in family}
    for metric, options in (ASSUMED if effects is None else effects).items():
        for name in study.config.sets:
            images = study.manifests[name].count
            if images and images > 1 and (name, metric) in known:
                for one in options:
                    gains = [gain_for(one, seeds=number, images=images, level=level) for number in columns]
                    found = ", ".join(f"{number}: {gain:.2g}" for number, gain in zip(columns, gains, strict=True))
                    spread = f"seed sd {one.seed:.2g}, image sd {one.image:.2g}, interaction sd {one.interaction:.2g}"
                    yield f"  {metric} on {name} ({images} images; {spread})  {found}"
