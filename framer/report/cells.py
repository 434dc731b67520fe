"""The contents of tables as data: one cell per row, set and metric. Markdown, CSV, LaTeX and HTML all print these."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from framer.errors import UserError, unknown
from framer.report.lineage import Lineage, Tree, cell_id
from framer.report.origin import origin
from framer.report.paper_numbers import Ledger, Published, paper_name
from framer.report.progress import unscored
from framer.report.significance import Column, Tier, marks
from framer.report.statistics import Interval, over_images, over_seeds
from framer.scoring.protocols import Metric, Protocol
from framer.scoring.score_file import Array, Scores, read_methods, read_scores
from framer.study.availability import how_to_supply, not_available
from framer.study.study import Study


@dataclass(frozen=True)
class Cell:
    """One number of a table: the mean over images, then over training seeds. Or the reason why there is none."""

    arm: str
    set: str
    protocol: str
    metric: Metric
    mean: float | None
    n_images: int = 0
    seeds: tuple[int | None, ...] = ()
    """The seeds of the rows of `values`; None for a method without."""
    reason: str | None = None
    tier: Tier = Tier.NONE
    """Whether the mean is tied with the best of its column, or with the next; never of a control."""
    mark_note: str | None = None
    """Why it is undecided whether it is tied."""
    interval: Interval | None = None
    """95%: these checkpoints on new images."""
    seeds_interval: Interval | None = None
    """95%: new training seeds on these images."""
    published: tuple[Published, ...] = ()
    """What was published of this cell under the same definition; several where sources are in conflict."""
    id: str = ""
    """Hash of everything that made it; see `framer.report.lineage`."""
    tree: Tree = field(default_factory=dict, repr=False, compare=False)
    values: Array | None = field(default=None, repr=False, compare=False)
    """Shape (seeds, images), images in the order of their stems; (seeds, 1) of a metric of whole sets."""

    @property
    def n_seeds(self) -> int:
        """How many training seeds the mean is over; 1 for a method without."""
        return len(self.seeds)

    @property
    def asked(self) -> bool:
        """Whether the study asks for it: an arm may be for some of the sets alone."""
        return self.mean is not None or self.reason is not None

    @property
    def text(self) -> str:
        """The mean with the metric's decimals, `n/a`, or nothing where nothing is asked for."""
        return "n/a" * self.asked if self.mean is None else f"{self.mean:.{self.metric.digits}f}"

    def at(self, seeds: Sequence[int | None]) -> Array | None:
        """Its values at some of its seeds, shape (len(seeds), images); None where there are none."""
        return None if self.values is None else self.values[[self.seeds.index(seed) for seed in seeds]]


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    arm: str
    label: str
    cells: tuple[Cell, ...]
    source: str | None = None
    """Where the scores are from, of a method whose images are not ours."""


@dataclass(frozen=True)
class Section:
    """The rows of one test set: methods in study order; controls and ablations, which no method competes with."""

    set: str
    title: str
    stems: tuple[str, ...]
    """Its images, sorted; none where nothing is scored."""
    methods: tuple[Line, ...]
    controls: tuple[Line, ...]
    ablations: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Table:
    """All sets under one protocol; a column never mixes two."""

    protocol: Protocol
    metrics: tuple[Metric, ...]
    sections: tuple[Section, ...]

    @property
    def cells(self) -> list[Cell]:
        """All cells that the study asks for, in reading order."""
        lines = (line for one in self.sections for line in (*one.methods, *one.controls, *one.ablations))
        return [cell for line in lines for cell in line.cells if cell.asked]


def tables(
    study: Study, missing: Mapping[str, str], datasets: Path = Path("datasets"), ledger: Ledger | None = None
) -> list[Table]:
    """One table a protocol, from the score files of a study and those that others published.

    Args:
        study: its score files are read.
        missing: what is not on this machine, each with what to do: sets, published weights, and images that are to be
            supplied, as ARM/SET. Cells that depend on it are `n/a`.
        datasets: folder of the data, whose cards are part of where a cell comes from.
        ledger: the published numbers; None for those in `results/published`.

    Raises:
        UserError: a score file is missing or damaged, was made under other definitions than the code's, or the rows
            of a set are scored on different images.
    """
    builder = _Builder(study, missing, Lineage(study, datasets), Ledger.read() if ledger is None else ledger)
    return [builder.table(Protocol.named(name)) for name in study.config.protocols]


def find(study: Study, name: str, datasets: Path = Path("datasets")) -> Cell:
    """The cell of an id (its first digits, where they are enough) or of `ARM/SET/PROTOCOL/METRIC`.

    Rows whose scores are not here are left out, so that one cell can be asked for before a study is finished.

    Raises:
        UserError: there is none, it is n/a, or the first digits are those of several.
    """
    found = [cell for table in tables(study, unscored(study), datasets, Ledger()) for cell in table.cells]
    cells = [cell for cell in found if cell.id]
    if not cells:
        how = f"run: snakemake --cores all --config study={study.name}"
        raise UserError(f"nothing is scored yet; {how}", path=study.out / "scores", code="missing")
    if "/" in name:
        names = {f"{cell.arm}/{cell.set}/{cell.protocol}/{cell.metric.name}": cell for cell in found}
        if name not in names:
            raise UserError(unknown("cell", name, names), path=study.path, code="unknown")
        if not names[name].id:
            raise UserError(f"n/a: {names[name].reason}", path=study.path, key=name, code="missing")
        return names[name]
    found = [cell for cell in cells if cell.id.startswith(name)]
    if len({cell.id for cell in found}) != 1:
        where = "main.csv of the study's tables lists the ids"
        message = f"{len(found)} cells have an id that starts with {name!r}; {where}"
        raise UserError(message, path=study.path, code="unknown")
    return found[0]


class _Builder:
    def __init__(self, study: Study, missing: Mapping[str, str], lineage: Lineage, ledger: Ledger):
        self.study, self.missing, self.lineage, self.ledger = study, missing, lineage, ledger
        self.unmade = not_available(study, missing)

    def table(self, protocol: Protocol) -> Table:
        metrics = tuple(protocol.select(self.study.config.metrics))
        sections = [self.section(protocol, metrics, set_id) for set_id in self.study.config.sets]
        return Table(protocol, metrics, _marked(sections))

    def section(self, protocol: Protocol, metrics: tuple[Metric, ...], set_id: str) -> Section:
        reasons: dict[str, str] = {}
        scores: dict[str, dict[str, Scores]] = {}
        for row in [self.study.rows[row] for row, name in self.study.pairs if name == set_id]:
            path = self.study.paths.scores(row.id, set_id, protocol.name)
            if row.arm in self.study.supplied and not path.is_file():
                reasons[row.arm] = self.missing.get(set_id) or self.to_supply(row.arm, protocol)
            elif (row.id, set_id) in self.unmade:
                reasons[row.arm] = self.unmade[row.id, set_id]
            else:
                scores.setdefault(row.arm, {})[row.id] = read_scores(path, protocol)
        stems = self.stems(scores)
        methods: list[Line] = []
        controls: list[Line] = []
        ablations: list[Line] = []
        for arm, config in self.study.arms.items():
            cells = tuple(self.cell(arm, set_id, protocol, metric, scores, reasons) for metric in metrics)
            line = Line(arm, config.title, cells, origin(self.study, arm) if any(cell.id for cell in cells) else None)
            control = config.untrained or (config.of is not None and not config.freeu)
            alone = arm in self.study.ablation_arms
            (ablations if alone else controls if control else methods).append(line)
        if stems:
            methods += [
                self.imported(name, set_id, protocol, metrics, found, stems)
                for name, found in read_methods(set_id, protocol, self.study.arms).items()
            ]
        title = self.study.manifests[set_id].title
        return Section(set_id, title, stems, tuple(methods), tuple(controls), tuple(ablations))

    def cell(
        self,
        arm: str,
        set_id: str,
        protocol: Protocol,
        metric: Metric,
        scores: Mapping[str, Mapping[str, Scores]],
        reasons: Mapping[str, str],
    ) -> Cell:
        """An arm's cell; empty where the study does not ask for it."""
        name = paper_name(self.study, arm) if arm in scores or arm in reasons else None
        published = self.ledger.score(name, set_id, metric) if name else ()
        cell = Cell(arm, set_id, protocol.name, metric, None, reason=reasons.get(arm), published=published)
        return self.measured(cell, scores[arm]) if arm in scores and cell.reason is None else cell

    def to_supply(self, arm: str, protocol: Protocol) -> str:
        """How the images of a method come here, for all sets together: one footnote."""
        scores = {name: self.study.paths.scores(arm, name, protocol.name) for name in self.study.sets_of(arm)}
        sets = [name for name, path in scores.items() if not path.is_file() and name not in self.missing]
        return how_to_supply(self.study, arm, *sets)

    def stems(self, scores: Mapping[str, Mapping[str, Scores]]) -> tuple[str, ...]:
        """The images of a set. Means over different images must not stand in one column."""
        found = [one for of_arm in scores.values() for one in of_arm.values()]
        all_stems = {stem for one in found for stem in one.stems}
        for one in found:
            if unscored := sorted(all_stems - set(one.stems)):
                message = f"no scores for {', '.join(unscored[:5])}, which other rows have; score again"
                raise UserError(message, path=one.path, code="mismatch")
        return tuple(sorted(all_stems))

    def measured(self, cell: Cell, rows: Mapping[str, Scores]) -> Cell:
        """A cell with its mean and footnotes, or with the reason why there is none."""
        columns = []
        for scores in rows.values():
            column = scores.column(cell.metric)
            if isinstance(column, str):
                return replace(cell, reason=column)
            columns.append(column)
        trees = {self.branch(row): self.lineage.of_row(row, cell.set, cell.metric, one) for row, one in rows.items()}
        seeds = tuple(self.study.rows[row].seed for row in rows)
        n_images = len(next(iter(rows.values())).stems)
        return _filled(replace(cell, n_images=n_images, seeds=seeds), np.stack(columns), trees)

    def branch(self, row: str) -> str:
        """The name of a row's part of the tree; rows of two arms have equal ones, so that they can be compared."""
        seed = self.study.rows[row].seed
        return "untrained" if seed is None else f"seed {seed}"

    def imported(
        self,
        name: str,
        set_id: str,
        protocol: Protocol,
        metrics: Sequence[Metric],
        scores: Scores,
        stems: tuple[str, ...],
    ) -> Line:
        """The line of a method whose scores were published by others."""
        label = str(scores.sidecar["label"])
        other = None if scores.stems == stems else f"{label}: published for {len(scores.stems)} other images"
        cells = []
        for metric in metrics:
            column = other or scores.column(metric)
            cell = Cell(name, set_id, protocol.name, metric, None, len(scores.stems))
            if isinstance(column, str):
                cells.append(replace(cell, n_images=0, reason=column))
            else:
                tree = {"published": self.lineage.of_method(metric, scores)}
                published = self.ledger.score(label, set_id, metric)
                cells.append(_filled(replace(cell, seeds=(None,), published=published), column[None], tree))
        return Line(name, label, tuple(cells), source=f"Scores of {label} as published: {scores.sidecar['source']}")


def shared_seeds(cells: Iterable[Cell]) -> tuple[int | None, ...]:
    """The seeds that all of some cells have, in the order of the first; cells without values do not count."""
    having = [cell.seeds for cell in cells if cell.values is not None]
    return tuple(seed for seed in having[0] if all(seed in seeds for seeds in having)) if having else ()


def mean_of(values: Array) -> float:
    """Mean over images first, so that every seed weighs the same; values of shape (seeds, images)."""
    means = [math.fsum(of_seed) / len(of_seed) for of_seed in values]
    return math.fsum(means) / len(means)


def exact(value: float | None) -> str:
    """A value in full, as the CSV files of tables have it; empty for none."""
    return "" if value is None else repr(value)


def _filled(cell: Cell, values: Array, tree: Tree) -> Cell:
    return replace(
        cell,
        mean=mean_of(values),
        interval=over_images(values.mean(0)),
        seeds_interval=over_seeds(np.array([mean_of(of_seed[None]) for of_seed in values])),
        id=cell_id(tree),
        tree=tree,
        values=values,
    )


def column_of(cells: Sequence[Cell], values: Sequence[Array]) -> Column:
    """What the marks of some cells of one set, metric and protocol depend on.

    Args:
        cells: at least one.
        values: their scores, shape (seeds, images) each.
    """
    metric = cells[0].metric
    return Column(tuple(one.mean(0) for one in values), metric.higher_is_better, metric.reproducibility)


def _marked(sections: Sequence[Section]) -> tuple[Section, ...]:
    """Mark the cells of methods that are tied with the best of their column; all columns are corrected together."""
    columns = [column for section in sections for column in zip(*(line.cells for line in section.methods), strict=True)]
    scored = [[cell for cell in column if cell.values is not None] for column in columns]
    contests = [column_of(cells, [c.values for c in cells if c.values is not None]) for cells in scored if cells]
    found = iter(marks(contests))
    marked: dict[int, Cell] = {}
    for cells in filter(None, scored):
        of_column = next(found)
        for cell, tier in zip(cells, of_column.tiers, strict=True):
            note = of_column.note if tier is Tier.UNDECIDED else None
            marked[id(cell)] = replace(cell, tier=tier, mark_note=note)
    return tuple(
        replace(
            section,
            methods=tuple(
                replace(line, cells=tuple(marked.get(id(cell), cell) for cell in line.cells))
                for line in section.methods
            ),
        )
        for section in sections
    )
