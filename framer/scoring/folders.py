"""Per-image scores of folders of images: a tidy CSV per folder and protocol, and a sidecar that documents it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from framer.data.image_folder import listing
from framer.errors import UserError
from framer.provenance.cards import lock, versions
from framer.provenance.code import fingerprint
from framer.provenance.hashing import digest, sha256_file
from framer.provenance.journal import Journal
from framer.scoring import fid
from framer.scoring.pairing import Pair, check, pair_up
from framer.scoring.protocols import Metric, Protocol
from framer.scoring.score_file import WHOLE_SET, claimed_scores, write_scores
from framer.scoring.scorer import Scored, Scorer, Unit, one_thread, packages
from framer.weights import store


@dataclass(frozen=True)
class Task:
    """One folder to score.

    Attributes:
        sr: folder of restored images.
        hr: folder of HR images with the same stems and sizes; None for a set without.
        outs: the CSV to write for each protocol, by the protocol's name; see `Protocol.named`.
    """

    sr: Path
    hr: Path | None
    outs: Mapping[str, Path]


@dataclass(frozen=True)
class Summary:
    """The result of one folder under one protocol: means over images by metric, and reasons for missing metrics."""

    out: Path
    means: dict[str, float]
    unavailable: dict[str, str]


def score_folders(
    tasks: Sequence[Task],
    metrics: list[str],
    threads: int = 1,
    origin: dict[str, str] | None = None,
    progress: bool = True,
) -> list[Summary]:
    """Score folders of restored images under one or more protocols.

    Networks are loaded once for all tasks. Each image file is read, hashed and decoded once, and a metric of one
    definition (`Metric.id`) is computed once per image, however many protocols share it.

    Writes each CSV with rows `image,metric,value`: the SR file's name, the metric's short name and the shortest decimal
    that reads back as the same float, sorted by image and then in the protocol's order; a metric of the whole set has
    one row, last, with `*` for an image. The sidecar with suffix `.json` holds the metrics' exact ids, missing metrics
    with reasons, and the hashes of all inputs. Both are byte-identical between runs on one kind of device, for any
    number of threads, after any number of interruptions, and whichever other protocols are scored with them.

    Args:
        tasks: folders and the files of their scores.
        metrics: short names, a selection of each protocol's.
        threads: number of processes that score on CPUs; with a GPU, number of threads that decode.
        origin: for images of other methods: "label" and "source", which tables print.
        progress: show a bar on stderr.

    Returns:
        A summary per CSV, in the order of the tasks and of their protocols.

    Raises:
        UserError: an unknown protocol or metric; images that do not pair up, differ in size, are not 8-bit RGB, too
            small for a metric, unreadable, or not as the index of their folder lists them; weights with another hash
            than their manifest states; a value that is not finite. Then nothing is written but a journal.
    """
    outs = [out for task in tasks for out in task.outs.values()]
    for out in outs:
        if out.suffix != ".csv":
            raise UserError("scores go to a .csv file; its sidecar takes the same name with .json", path=out)
        if outs.count(out) > 1:
            raise UserError("named twice; each folder and protocol needs a file of its own", path=out, code="conflict")
    with ExitStack() as held:
        for task in tasks:
            for out in task.outs.values():
                held.enter_context(claimed_scores(out, (task.sr, task.hr)))
        return _score(tasks, metrics, threads, origin or {}, progress)


def _score(
    tasks: Sequence[Task], metrics: list[str], threads: int, origin: dict[str, str], progress: bool
) -> list[Summary]:
    plans = [_Plan(task, metrics) for task in tasks]
    for plan in plans:
        plan.keep_scores()
    computed = unique(metric for plan in plans for metric in plan.computed)
    hashes = store.verified(name for metric in computed for name in metric.weights)
    with one_thread(computed):
        scorer = Scorer(computed)
        for plan in plans:
            plan.resume(hashes, scorer.on_gpu)

        units = [unit for i, plan in enumerate(plans) for unit in scorer.units(i, plan.pairs, plan.computed)]
        left = [rest for unit in units if (rest := plans[unit.task].left(unit))]
        total, to_do = (sum(len(unit.pairs) for unit in some) for some in (units, left))
        with tqdm(desc="score", total=total, initial=total - to_do, unit="image", disable=not progress) as bar:
            for unit, results in scorer.run(left, threads):
                for pair, scored in zip(unit.pairs, results, strict=True):
                    plans[unit.task].take(pair, scored)
                bar.update(len(results))
    return [summary for plan in plans for summary in plan.write(origin)]


def unique(metrics: Iterable[Metric]) -> list[Metric]:
    """Metrics without repeated ids, in the order of their first appearance."""
    return list({metric.id: metric for metric in metrics}.values())


class _Plan:
    """A task, checked: its pairs, the metrics to compute on them, and the images that are done."""

    def __init__(self, task: Task, metrics: list[str]):
        self.task = task
        self.protocols = {name: Protocol.named(name) for name in task.outs}
        self.selected = {name: protocol.select(metrics) for name, protocol in self.protocols.items()}
        every = unique(metric for selected in self.selected.values() for metric in selected)
        reasons = {metric.id: unavailable(metric, has_hr=task.hr is not None) for metric in every}
        self.reasons = {name: reason for name, reason in reasons.items() if reason}
        self.computed = [metric for metric in every if metric.id not in self.reasons]
        self.pairs: list[Pair] = pair_up(task.sr, task.hr)
        self.listings = [listing(folder) for folder in (task.sr, task.hr) if folder]
        check(self.pairs, self.computed)
        self.done: dict[str, Scored] = {}

    def keep_scores(self) -> None:
        """Refuse to replace scores by a file without any."""
        for name, out in self.task.outs.items():
            reasons = [self.reasons.get(metric.id) for metric in self.selected[name]]
            if all(reasons) and out.is_file() and out.read_text(encoding="utf-8").count("\n") > 1:
                message = f"no metric can be computed ({reasons[0]}); the scores in it are kept"
                raise UserError(message, path=out, code="missing")

    def resume(self, hashes: dict[str, str], on_gpu: bool) -> None:
        """Take what an earlier job computed on the same kind of device, for files that have not changed.

        That job was interrupted, or lacked the weights of some metrics: those that it had are not computed again.
        """
        self.hashes = hashes
        made_with = {key: value for key, value in self._made_with(self.computed).items() if key != "weights"}
        self.journal = Journal(next(iter(self.task.outs.values())), made_with | {"on_gpu": on_gpu})
        bytes_of = {m.id: [hashes[name] for name in store.files(m.weights)] for m in self.computed}
        self.weights = {name: digest(found) for name, found in bytes_of.items()}
        self.weights[WHOLE_SET] = digest([bytes_of[m.id] for m in self.computed if m.of_set])
        found = self.journal.read()
        for pair in self.pairs:
            name = pair[0].name
            one = Scored.from_json(name, found[name], self.weights) if name in found else None
            if one and list(one.sha256.values()) == [sha256_file(path) for path in pair if path]:
                self._require(pair, one)
                self.done[name] = one

    def left(self, unit: Unit) -> Unit | None:
        """A unit with the metrics that any of its images lacks; None where all are done.

        Its images stay together: what a GPU computes can depend on that.
        """
        done = [self.done.get(sr.name) for sr, _ in unit.pairs]
        metrics = tuple(m for m in unit.metrics if not all(one and one.has(m) for one in done))
        return replace(unit, metrics=metrics) if metrics or None in done else None

    def take(self, pair: Pair, scored: Scored) -> None:
        """Record scores of an image.

        Raises:
            UserError: a file of the pair is not the one that the index of its folder lists.
        """
        self._require(pair, scored)
        if before := self.done.get(scored.image):
            scored = before.joined(scored)
        self.journal.append(scored.image, scored.as_json(self.weights))
        self.done[scored.image] = scored

    def _require(self, pair: Pair, scored: Scored) -> None:
        for found, path, sha256 in zip(self.listings, pair, scored.sha256.values(), strict=False):
            if path:
                found.require(path, sha256)

    def _made_with(self, computed: list[Metric]) -> dict[str, Any]:
        """Code, versions and weights of some metrics."""
        files = store.files(name for metric in computed for name in metric.weights)
        return {
            "code": fingerprint("score"),
            "lock": lock(),
            "versions": versions(packages(computed)),
            "weights": {name: self.hashes[name] for name in files},
        }

    def write(self, origin: dict[str, str]) -> list[Summary]:
        """Write the scores and sidecar of each protocol."""
        scored = [self.done[sr.name] for sr, _ in self.pairs]
        of_set = {metric.id: _distance(scored) for metric in self.computed if metric.of_set}
        summaries = []
        for protocol, selected in self.selected.items():
            out, computed = self.task.outs[protocol], [metric for metric in selected if metric.id not in self.reasons]
            rows = [(one.image, m.name, one.values[m.id]) for one in scored for m in computed if not m.of_set]
            rows += [(WHOLE_SET, m.name, of_set[m.id]) for m in computed if m.of_set]
            missing = {metric.name: self.reasons[metric.id] for metric in selected if metric.id in self.reasons}
            sidecar = {
                "protocol": self.protocols[protocol].name,
                "metrics": {metric.name: metric.id for metric in selected},
                "unavailable": missing,
                **self._made_with(computed),
                **origin,
                "images": {one.image: one.sha256 for one in scored},
            }
            write_scores(out, rows, sidecar)
            means = {m.name: _mean(value for _, name, value in rows if name == m.name) for m in computed}
            summaries.append(Summary(out, means, missing))
        # What lacks weights now is computed alone when they come.
        if not any(store.missing(m.weights) for selected in self.selected.values() for m in selected):
            self.journal.remove()
        return summaries


def _distance(scored: list[Scored]) -> float:
    sr, hr = (np.stack([one.features[side] for one in scored]) for side in ("sr", "hr"))
    return fid.frechet_distance(sr, hr)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed)


def unavailable(metric: Metric, *, has_hr: bool) -> str | None:
    """Why a metric cannot be computed here, as a table's footnote prints it; None if it can."""
    if metric.needs_hr and not has_hr:
        return f"{metric.title} compares with HR images, of which there are none"
    for name, files in store.missing(metric.weights).items():
        return (
            f"{metric.title} needs weights that are not on this machine: {', '.join(files)}; "
            f"run: framer fetch --weights {name}"
        )
    return None
