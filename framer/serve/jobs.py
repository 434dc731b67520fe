"""The jobs of a study, each with its outputs and its log, and how they stand."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from framer.dag import inputs, targets
from framer.dag.scope import Scope
from framer.provenance.cards import CARD
from framer.serve import records
from framer.study.layout import LOGS, WEIGHTS, dataset_card

State = Literal["done", "running", "failed", "waiting", "unknown"]
STATES: tuple[State, ...] = ("done", "running", "failed", "waiting", "unknown")
SILENCE = 1800.0
"""Seconds without a line in its log after which nobody can tell from files whether a job still runs."""


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes:
        stage: its kind: the name of its rule, or `data` and `restore` for all rules that make sets or images.
        name: which one of its kind.
        outputs: all files that it makes.
        log: where its command writes.
    """

    stage: str
    name: str
    outputs: tuple[str, ...]
    log: Path | None


@dataclass(frozen=True)
class Standing:
    """How a job stands, why that is said, and the seconds since its log was written; None without a log."""

    job: Job
    state: State
    note: str = ""
    silent: float | None = None


def jobs(scope: Scope) -> list[Job]:
    """All jobs that make a study here, in the order of the stages, but those that fetch weights and methods."""
    return list(_jobs(scope))


def _jobs(scope: Scope) -> Iterator[Job]:
    study, paths = scope.study, scope.study.paths

    def job(stage: str, name: str, outputs: Iterable[str | Path], *log: str) -> Job:
        return Job(stage, name, tuple(str(path) for path in outputs), Path(paths.log(*(log or (stage, name)))))

    for name in _sets(scope):
        yield Job("data", name, (dataset_card(name).as_posix(),), LOGS / f"datasets/{name}.log")
    for base in scope.bases:
        yield job("pretrain", base, (paths.base(base) / name for name in WEIGHTS))
    for path in dict.fromkeys(path for run in scope.runs for path in inputs.encoded(study, run)):
        yield job("encode", Path(path).name, [Path(path) / CARD])
    for arm in scope.released:
        yield job("release", arm, (paths.run(arm) / name for name in WEIGHTS if name != "log.csv"))
    for run in scope.runs:
        stage = "tune" if run in scope.searched else "train"
        chosen = [paths.tuning(run)] if stage == "tune" else []
        yield job(stage, run, [*chosen, *(paths.run(run) / name for name in WEIGHTS)])
    for row, name in scope.restored:
        yield job("restore", f"{row}, {name}", [paths.images(row, name) / CARD], "restore", row, name)
    kinds = ("csv", "json")
    for row, name in scope.restored:
        scores = [paths.scores(row, name, one, kind) for one in study.config.protocols for kind in kinds]
        yield job("score", f"{row}, {name}", scores, "score", row, name)
    for backbone in scope.analyses:
        yield job("analyse", backbone, [paths.analysis(backbone) / CARD])
    if scope.cost:
        yield job("cost", "of training", [paths.cost], "analyse", "cost")
    yield job("tables", "all", targets.tables(scope, "md", "tex", "html", "csv"), "tables")
    yield job("figures", "all", targets.figures(scope, "svg", "pdf"), "figures")
    yield job("report", "all", [paths.report], "report")


def _sets(scope: Scope) -> list[str]:
    """The sets that the study reads here, those that others are derived from first."""
    study = scope.study
    read = [name for run in scope.runs for name in study.planned_job(run).data.sets]
    read += [name for _, name in scope.restored]
    read += [study.config.heldout.set] if study.config.heldout and scope.runs else []
    read += [job.set for job in scope.analyses.values()]
    sources = [source for name in read if (source := study.manifests[name].derived_from)]
    return list(dict.fromkeys(name for name in [*sources, *read] if name not in scope.missing))


def standings(study: str, known: Iterable[Job], folder: Path = records.FOLDER) -> list[Standing]:
    """How jobs stand by what lies on the disk now; failed ones that are not among them are added.

    Args:
        study: its name, as in `--config study=NAME`.
        known: the jobs.
        folder: Snakemake's own.
    """
    started, locked = records.started(folder), records.locked(folder)
    failed = {output: failure for failure in records.failures(study, folder) for output in failure.outputs}
    known, now = list(known), time.time()
    found = [_standing(job, started, locked, failed, now) for job in known]
    ours = {output for job in known for output in job.outputs}
    for failure in dict.fromkeys(failed.values()):
        if not ours.intersection(failure.outputs):
            job = Job(failure.rule, failure.outputs[0], failure.outputs, failure.log)
            standing = _standing(job, started, locked, failed, now)
            found += [standing] if standing.state != "done" else []
    return found


def _standing(
    job: Job, started: Mapping[str, float], locked: set[str], failed: Mapping[str, records.Failure], now: float
) -> Standing:
    written = _time(job.log)
    silent = None if written is None else max(0.0, now - written)
    begun = max((started[output] for output in job.outputs if output in started), default=None)
    if begun is None:
        if all(Path(output).is_file() for output in job.outputs):
            return Standing(job, "done", silent=silent)
        if any(output in failed for output in job.outputs):
            return Standing(job, "failed", silent=silent)
        return Standing(job, "waiting", silent=silent)
    if not locked.intersection(job.outputs):
        note = "Snakemake began it and is not running now: interrupted, or still running on a cluster"
        return Standing(job, "unknown", note, silent)
    if written is None or written < begun - 2:  # clocks of two machines differ
        if now - begun > SILENCE:
            return Standing(job, "unknown", "submitted, and its log is not begun: in a queue, or lost", now - begun)
        return Standing(job, "running", "submitted; its log is not begun", now - begun)
    if now - written > SILENCE:
        return Standing(job, "unknown", "nothing was written to its log for long: slow, or lost", silent)
    return Standing(job, "running", silent=silent)


def _time(path: Path | None) -> float | None:
    """When a file was written last."""
    try:
        return path.stat().st_mtime if path else None
    except OSError:
        return None


def last_lines(path: Path | None, most: int) -> list[str]:
    """The last lines of a log, of a progress bar what is seen of it last; control characters are left out."""
    try:
        if path is None:
            return []
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    shown = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))
    lines = ["".join(c for c in line if c.isprintable() or c == "\t")[:500] for line in shown if line]
    return lines[-most:]
