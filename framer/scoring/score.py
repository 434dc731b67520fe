"""Per-image scores of folders of images under one protocol: a tidy CSV each, and a sidecar that says what it means."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from framer.data.image_folder import verify
from framer.errors import UserError
from framer.provenance.cards import lock, versions
from framer.provenance.code import fingerprint
from framer.provenance.hashing import sha256_file
from framer.provenance.journal import Journal
from framer.scoring import fid
from framer.scoring.pairing import Pair, check, pair_up
from framer.scoring.protocols import Metric, Protocol
from framer.scoring.score_file import WHOLE_SET, write_scores
from framer.scoring.scorer import Scored, Scorer, packages
from framer.weights.store import missing, verified


@dataclass(frozen=True)
class Task:
    """One folder to score.

    Attributes:
        sr: folder of restored images.
        hr: folder of HR images with the same stems and sizes; None for a set that has none.
        out: the CSV.
    """

    sr: Path
    hr: Path | None
    out: Path


@dataclass(frozen=True)
class Summary:
    """What came of a task: the mean of each metric over the images, and why there is none of others."""

    out: Path
    means: dict[str, float]
    unavailable: dict[str, str]


def score(
    tasks: Sequence[Task],
    metrics: list[str],
    protocol: str,
    threads: int = 1,
    origin: dict[str, str] | None = None,
    progress: bool = True,
) -> list[Summary]:
    """Score folders of restored images; networks are loaded once for all of them.

    Writes `out` with rows `image,metric,value`: the SR file's name, the metric's short name and the shortest decimal
    that reads back as the same float, sorted by image and then in the protocol's order; a metric of the whole set has
    one row, last, with `*` for an image. The sidecar `out` with suffix `.json` holds the metrics' exact ids, what could
    not be computed and why, and the hashes of everything that went in. Both are byte-identical between runs on one kind
    of device, however many threads there are and however often a run was killed and started again.

    Args:
        tasks: folders and where their scores go.
        metrics: short names, a selection of the protocol's.
        protocol: what the names mean; see `Protocol.named`.
        threads: processes that score on CPUs, one image each at a time; threads that decode, with a GPU.
        origin: for images of others: "label" and "source", which tables print.
        progress: show a bar on stderr.

    Raises:
        UserError: an unknown protocol or metric, images that do not pair up, that differ in size, that are no 8-bit
            RGB, that are too small for a metric or unreadable, weights that are not the published ones, or a value
            that is not finite. Nothing is written then but a journal of the images that are scored.
    """
    named = Protocol.named(protocol)
    selected = named.select(metrics)
    outs = [task.out for task in tasks]
    for out in outs:
        if out.suffix != ".csv":
            raise UserError(f"{out}: scores go to a .csv file; its sidecar takes the same name with .json")
        if outs.count(out) > 1:
            raise UserError(f"{out}: two folders' scores cannot go to one file")
    plans = [_Plan(task, selected) for task in tasks]
    computed = [metric for metric in selected if any(metric in plan.computed for plan in plans)]
    hashes = weight_hashes(computed)
    scorer = Scorer(computed)
    for plan in plans:
        plan.resume(named.name, hashes, scorer.on_gpu)

    units = [unit for i, plan in enumerate(plans) for unit in scorer.units(i, plan.pairs, plan.computed)]
    left = [unit for unit in units if any(pair[0].name not in plans[unit.task].done for pair in unit.pairs)]
    total, to_do = (sum(len(unit.pairs) for unit in some) for some in (units, left))
    with tqdm(desc="score", total=total, initial=total - to_do, unit="image", disable=not progress) as bar:
        for unit, results in scorer.run(left, threads):
            plan = plans[unit.task]
            for scored in results:
                plan.journal.append(scored.image, scored.as_json())
                plan.done[scored.image] = scored
            bar.update(len(results))
    return [plan.write(origin or {}) for plan in plans]


class _Plan:
    """A task, checked: its pairs, what is computed on them, and what is done."""

    def __init__(self, task: Task, selected: list[Metric]):
        self.task, self.selected = task, selected
        reasons = {metric.name: unavailable(metric, has_hr=task.hr is not None) for metric in selected}
        self.unavailable = {name: reason for name, reason in reasons.items() if reason}
        self.computed = [metric for metric in selected if metric.name not in self.unavailable]
        self.pairs: list[Pair] = pair_up(task.sr, task.hr)
        for folder in (task.sr, task.hr):
            if folder:
                verify(folder)
        check(self.pairs, self.computed)
        self.done: dict[str, Scored] = {}

    def resume(self, protocol: str, hashes: dict[str, str], on_gpu: bool) -> None:
        """Take what an earlier job did, on the same kind of device and on files that are still the same."""
        self.facts = {
            "protocol": protocol,
            "metrics": {metric.name: metric.id for metric in self.selected},
            "unavailable": self.unavailable,
            "code": fingerprint("score"),
            "lock": lock(),
            "versions": versions(packages(self.computed)),
            "weights": {name: hashes[name] for name in sorted({n for m in self.computed for n in m.weights})},
        }
        self.journal = Journal(self.task.out, self.facts | {"on_gpu": on_gpu})
        found = self.journal.read()
        for sr, hr in self.pairs:
            one = Scored.from_json(sr.name, found[sr.name]) if sr.name in found else None
            if one and one.sha256 == {"sr": sha256_file(sr)} | ({"hr": sha256_file(hr)} if hr else {}):
                self.done[sr.name] = one

    def write(self, origin: dict[str, str]) -> Summary:
        """Write scores and sidecar."""
        scored = [self.done[sr.name] for sr, _ in self.pairs]
        rows = [(one.image, m.name, one.values[m.name]) for one in scored for m in self.computed if not m.of_set]
        for metric in self.computed:
            if metric.of_set:
                sr, hr = (np.stack([one.features[side] for one in scored]) for side in ("sr", "hr"))
                rows.append((WHOLE_SET, metric.name, fid.frechet_distance(sr, hr)))
        sidecar = self.facts | origin | {"images": {one.image: one.sha256 for one in scored}}
        write_scores(self.task.out, rows, sidecar)
        self.journal.remove()
        means = {m.name: _mean(value for _, name, value in rows if name == m.name) for m in self.computed}
        return Summary(self.task.out, means, self.unavailable)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)


def missing_weights(metric: Metric) -> list[str]:
    """The files that a metric needs and that are not there, relative to the folder of weights."""
    return missing(metric.weights)


def unavailable(metric: Metric, *, has_hr: bool) -> str | None:
    """Why a metric cannot be computed here, as a table's footnote prints it; None if it can."""
    if metric.needs_hr and not has_hr:
        return f"{metric.title} compares with HR images, of which there are none"
    if absent := missing_weights(metric):
        return f"{metric.title} needs weights that are not on this machine: {', '.join(absent)}"
    return None


def weight_hashes(metrics: list[Metric]) -> dict[str, str]:
    """The sha256 of every file that some metrics need; all must be there.

    Raises:
        UserError: a file is not the one that was published under its name.
    """
    return verified(sorted({name for metric in metrics for name in metric.weights}))
