"""What a table says, as data: one cell a row, set and metric. Markdown, CSV, LaTeX and HTML all print these."""

import csv
import hashlib
import json
import math
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

from framer.errors import UserError
from framer.scoring.protocols import Metric, Protocol
from framer.scoring.scorefile import METHODS
from framer.study import Study


@dataclass(frozen=True)
class Cell:
    """One number of a table: the mean over images, then over training seeds. Or the reason why there is none."""

    arm: str
    set: str
    protocol: str
    metric: Metric
    mean: float | None
    n_images: int
    n_seeds: int
    reason: str | None = None
    best: bool = False
    """Equal to the best of its column as printed; never true of a control."""

    @property
    def text(self) -> str:
        """The mean with the metric's decimals, or `n/a`."""
        return "n/a" if self.mean is None else f"{self.mean:.{self.metric.digits}f}"


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    label: str
    cells: tuple[Cell, ...]
    source: str | None = None
    """Where its scores or images are from, for a method that the study does not restore."""


@dataclass(frozen=True)
class Section:
    """The rows of one test set: methods in study order, then controls, which no method competes with."""

    set: str
    title: str
    n_images: int
    methods: tuple[Line, ...]
    controls: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """All sets under one protocol; a column never mixes two."""

    protocol: Protocol
    metrics: tuple[Metric, ...]
    sections: tuple[Section, ...]

    @property
    def cells(self) -> list[Cell]:
        """All cells in reading order."""
        return [c for s in self.sections for line in (*s.methods, *s.controls) for c in line.cells]

    @property
    def notes(self) -> dict[str, int]:
        """The number of each footnote, in order of first use: why a cell is `n/a`, where a method is from."""
        lines = [line for s in self.sections for line in (*s.methods, *s.controls)]
        notes = [note for line in lines for note in (line.source, *(cell.reason for cell in line.cells)) if note]
        return {note: number for number, note in enumerate(dict.fromkeys(notes), 1)}


@dataclass(frozen=True)
class Scores:
    """One score file and its sidecar: the values of each metric by image."""

    values: dict[str, dict[str, float]]
    unavailable: dict[str, str]
    images: frozenset[str]
    label: str | None = None
    source: str | None = None
    """Both for methods that no study restores."""


def tables(study: Study, absent: dict[str, str]) -> list[Table]:
    """One table a protocol, from the score files of a study.

    Args:
        study: its `out / "scores" / ROW / SET / PROTOCOL.csv` are read.
        absent: sets that are not on this machine, each with the reason; their cells are `n/a`, and the rows that are
            trained on them.

    Raises:
        UserError: a score file is missing or damaged, was made under other definitions than the code's, or the rows
            of a set are scored on different images.
    """
    return [_table(study, Protocol.named(name), absent) for name in study.config.protocols]


def read_scores(path: Path, protocol: Protocol) -> Scores:
    """Read one score file, and check it against its sidecar and against the protocol's definitions.

    Raises:
        UserError: one of the two files is missing or damaged, or the definitions differ.
    """
    sidecar_path = path.with_suffix(".json")
    try:
        content = path.read_bytes()
        sidecar = json.loads(sidecar_path.read_text(encoding="utf-8"))
        ids, unavailable, images = sidecar["metrics"], sidecar["unavailable"], frozenset(sidecar["images"])
        written_for, label, source = sidecar["scores"], sidecar.get("label"), sidecar.get("source")
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not there; run snakemake, or framer score") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{sidecar_path}: not a sidecar of scores; delete {path} and score again") from None
    if hashlib.sha256(content).hexdigest() != written_for:
        raise UserError(f"{path}: it is not the file that {sidecar_path.name} describes; delete both and score again")
    for metric in protocol.metrics:
        if ids.get(metric.name, metric.id) == metric.id:
            continue
        if source:
            unavailable |= {metric.name: f"{metric.title} of {label} is {ids[metric.name]}, which is another metric"}
        else:
            raise UserError(
                f"{path}: {metric.name} is {ids[metric.name]}, where protocol {protocol.name!r} now means {metric.id}; "
                "delete it and score again"
            )
    values: dict[str, dict[str, float]] = {name: {} for name in ids}
    for row in csv.DictReader(StringIO(content.decode())):
        values[row["metric"]][row["image"]] = float(row["value"])
    return Scores(values, unavailable, images, label, source)


def _table(study: Study, protocol: Protocol, absent: dict[str, str]) -> Table:
    metrics = tuple(protocol.select(study.config.metrics))
    return Table(protocol, metrics, tuple(_section(study, protocol, metrics, s, absent) for s in study.config.sets))


def _section(
    study: Study, protocol: Protocol, metrics: tuple[Metric, ...], set_id: str, absent: dict[str, str]
) -> Section:
    scores: dict[str, list[Scores]] = {arm: [] for arm in study.config.arms}
    stopped = study.stopped(absent)
    reasons = {row.arm: stopped[row.id] for row in study.rows.values() if row.id in stopped}
    others: dict[str, Scores] = {}
    if set_id not in absent:
        for row in study.rows.values():
            if row.id in stopped:
                continue
            path = study.out / "scores" / row.id / set_id / f"{protocol.name}.csv"
            scores[row.arm].append(read_scores(path, protocol))
        others = {path.parents[1].name: read_scores(path, protocol) for path in _others(set_id, protocol)}
        for name in others.keys() & scores.keys():
            raise UserError(f"{METHODS / name}: {name} is also an arm of {study.path}; rename the folder")
        _check_same_images(study, set_id, protocol, scores | {name: [one] for name, one in others.items()})
    images = next((len(s.images) for of_arm in scores.values() for s in of_arm), 0)
    lines: dict[bool, list[Line]] = {False: [], True: []}
    for arm, config in study.config.arms.items():
        reason = absent.get(set_id) or reasons.get(arm)
        cells = [_cell(arm, set_id, protocol, metric, scores[arm], reason) for metric in metrics]
        lines[config.untrained or config.of is not None].append(Line(config.label, tuple(cells)))
    for name, one in others.items():
        cells = [_cell(name, set_id, protocol, metric, [one], None) for metric in metrics]
        lines[False].append(Line(one.label or name, tuple(cells), one.source))
    title = study.manifests[set_id].title
    return Section(set_id, title, images, _mark_best(lines[False]), tuple(lines[True]))


def _others(set_id: str, protocol: Protocol) -> list[Path]:
    """Scores of methods that no study restores: published by others, or of images that others made."""
    return sorted(METHODS.glob(f"*/{set_id}/{protocol.name}.csv"))


def _check_same_images(study: Study, set_id: str, protocol: Protocol, scores: dict[str, list[Scores]]) -> None:
    """Means over different images must not stand in one column. Methods may differ in file format, so stems count."""
    stems = {arm: [{Path(name).stem for name in s.images} for s in of_arm] for arm, of_arm in scores.items()}
    all_stems = set().union(*(s for of_arm in stems.values() for s in of_arm))
    for arm, of_arm in stems.items():
        for one in of_arm:
            if lacking := sorted(all_stems - one):
                root = study.out / "scores" / f"{arm}*" if arm in study.config.arms else METHODS / arm
                where = root / set_id / f"{protocol.name}.csv"
                raise UserError(f"{where}: no scores for {', '.join(lacking[:5])}, which other rows have; score again")


def _cell(arm: str, set_id: str, protocol: Protocol, metric: Metric, scores: list[Scores], reason: str | None) -> Cell:
    """Mean over images first, so that every seed weighs the same."""
    reason = reason or next((s.unavailable[metric.name] for s in scores if metric.name in s.unavailable), None)
    if reason:
        return Cell(arm, set_id, protocol.name, metric, None, 0, 0, reason)
    seeds = [list(s.values.get(metric.name, {}).values()) for s in scores]
    if any(len(values) != (1 if metric.of_set else len(s.images)) for values, s in zip(seeds, scores, strict=True)):
        reason = f"{metric.title} is not in the score files, which were made for fewer metrics; score again"
        return Cell(arm, set_id, protocol.name, metric, None, 0, 0, reason)
    means = [math.fsum(values) / len(values) for values in seeds]
    mean = math.fsum(means) / len(means)
    return Cell(arm, set_id, protocol.name, metric, mean, len(scores[0].images), len(seeds))


def _mark_best(lines: list[Line]) -> tuple[Line, ...]:
    """Mark the best of each column, and whatever prints as the same number: no mark hangs on an invisible digit."""
    marked = []
    best = [_best(column) for column in zip(*(line.cells for line in lines), strict=True)]
    for line in lines:
        cells = [replace(cell, best=cell.text == text) for cell, text in zip(line.cells, best, strict=True)]
        marked.append(replace(line, cells=tuple(cells)))
    return tuple(marked)


def _best(column: tuple[Cell, ...]) -> str | None:
    """The best number of a column as printed; None where fewer than two compete."""
    having = [cell for cell in column if cell.mean is not None]
    if len(having) < 2:
        return None
    pick = max if having[0].metric.higher_is_better else min
    return pick(having, key=lambda cell: cell.mean or 0.0).text
