"""Sweeps: the rows of one field's values, each compared with the arm that has none of what is swept."""

from collections.abc import Iterator
from dataclasses import dataclass

from framer.method.recipe import Recipe
from framer.report.cells import Cell, Table
from framer.report.claims import baseline_of
from framer.report.comparison import Comparison, compare
from framer.report.fairness import Fairness
from framer.report.main_table import caption, signed, span
from framer.report.paper_numbers import READINGS
from framer.report.render_table import Entry, Grid, Group, Row
from framer.study.study import Study


@dataclass(frozen=True)
class Point:
    """One value of a sweep.

    Attributes:
        value: of the field.
        cells: its arm's scores, one per metric.
        compared: its difference to the reference, one per metric; None where a score is missing.
        unfair: in what its arm differs from the reference besides the recipe, where that is what is swept.
    """

    value: float
    cells: tuple[Cell, ...]
    compared: tuple[Comparison | None, ...]
    unfair: str | None


@dataclass(frozen=True)
class Sweep:
    """A sweep on one set, under one protocol.

    Attributes:
        name: in the study.
        key: the field, as in the study.
        set: the test set.
        reference: label of the arm that points are compared with: the baseline, or without one the swept arm.
        points: by increasing value.
        marked: values of the named readings, each with the words for it; of fields of a recipe alone.
    """

    name: str
    key: str
    set: str
    reference: str
    points: tuple[Point, ...]
    marked: dict[float, str]


def sweeps(study: Study, table: Table) -> Iterator[Sweep]:
    """The sweeps of a study in reading order: sets, then as the study names them."""
    fairness = Fairness(study)
    for section in table.sections:
        lines = {line.arm: line for line in (*section.methods, *section.controls, *section.ablations)}
        for name, arms in study.sweeps.items():
            config = study.config.sweeps[name]
            reference = baseline_of(study, config.of) or config.of
            points = []
            for value, arm in sorted(arms.items()):
                cells, others = lines[arm].cells, lines[reference].cells
                if not any(cell.asked for cell in cells):
                    continue
                compared = tuple(compare(*pair) for pair in zip(cells, others, strict=True)) if arm != reference else ()
                unfair = None
                if config.key.startswith("recipe.") and (one := next(filter(None, compared), None)):
                    unfair = fairness.objection(one.ours, one.theirs, one.seeds)
                points.append(Point(value, cells, compared or (None,) * len(cells), unfair))
            if points:
                yield Sweep(
                    name, config.key, section.set, study.arms[reference].label, tuple(points), marked(config.key)
                )


def marked(key: str) -> dict[float, str]:
    """The values that the paper's and the released code's readings give a field of a recipe."""
    part, _, field = key.partition(".")
    found: dict[float, str] = {}
    if part == "recipe":
        for reading, words in READINGS.items():
            value = getattr(Recipe.named(reading), field)
            if not isinstance(value, (int, float)):
                continue
            found[value] = f"{found[value]}, {words}" if value in found else words
    return found


def sweep_grids(study: Study, table: Table, title: str) -> Iterator[Grid]:
    """A table per sweep and set: the score of each value, and its difference to the reference."""
    for sweep in sweeps(study, table):
        rows = []
        for point in sweep.points:
            words = sweep.marked.get(point.value)
            rows.append(
                Row(
                    f"{point.value:g} ({words})" if words else f"{point.value:g}",
                    tuple(
                        Entry(cell.text, note=None if cell.id else cell.reason, title=cell.id) for cell in point.cells
                    ),
                    point.unfair,
                )
            )
            if any(point.compared):
                pairs = zip(point.cells, point.compared, strict=True)
                entries = tuple(Entry(_difference(one, cell.metric.digits) if one else "") for cell, one in pairs)
                rows.append(Row(f"minus {sweep.reference}", entries, minor=True))
        of = study.arms[study.config.sweeps[sweep.name].of].label
        yield Grid(
            f"sweep-{table.protocol.name}-{sweep.set}-{sweep.name}",
            f"{title}: {sweep.name}, {sweep.key} of {of} ({sweep.set})",
            caption(table),
            (sweep.key, *(metric.heading for metric in table.metrics)),
            (Group("", tuple(rows)),),
            "Means over images and training seeds. Differences have 95% intervals over seeds and images together where "
            "there are several of both; they are not corrected for the number of values, and decide nothing.",
            protocol=table.protocol.name,
        )


def _difference(one: Comparison, digits: int) -> str:
    return f"{signed(one.difference, digits)} {span(one.interval, digits)}".strip()
