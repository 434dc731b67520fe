"""Comparisons of any two rows of a study's tables: `compare: [[realesrgan, osediff]]`."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from framer.errors import UserError, unknown
from framer.report.cells import Cell, Table
from framer.report.comparison import Comparison, compare, corrected
from framer.scoring.protocols import Metric
from framer.study.study import Study


@dataclass(frozen=True)
class Contrast:
    """The cells of two rows in one set, metric and protocol.

    Attributes:
        ours: of the first row.
        theirs: of the second row.
        label: the first row's.
        other_label: the second row's.
        comparison: first minus second, corrected for all comparisons of the study; None where a score is missing.
    """

    ours: Cell
    theirs: Cell
    label: str
    other_label: str
    comparison: Comparison | None

    @property
    def set(self) -> str:
        """The test set."""
        return self.ours.set

    @property
    def metric(self) -> Metric:
        """The metric."""
        return self.ours.metric

    @property
    def reason(self) -> str | None:
        """Why there is no comparison."""
        return self.ours.reason or self.theirs.reason

    @property
    def text(self) -> str:
        """The result in words."""
        if self.comparison is None:
            return "n/a"
        found = {1: "better", -1: "worse", 0: "undecided"}[self.comparison.sign]
        return ", ".join(filter(None, (found, self.comparison.need)))


def contrasts(study: Study, found: Sequence[Table]) -> list[list[Contrast]]:
    """The comparisons that a study asks for, a list per table, corrected together over the study.

    Raises:
        UserError: a row of that name is in no table.
    """
    raw = [list(_of_table(study, table)) for table in found]
    judged = corrected([one.comparison for of_table in raw for one in of_table if one.comparison])
    return [[_judged(one, judged) for one in of_table] for of_table in raw]


def _of_table(study: Study, table: Table) -> Iterator[Contrast]:
    rows = {
        line.arm for section in table.sections for line in (*section.methods, *section.controls, *section.ablations)
    }
    for pair in study.config.compare:
        for name in pair:
            if name not in rows:
                raise UserError(unknown("row", name, rows), path=study.path, key="compare", code="unknown")
    for section in table.sections:
        lines = {line.arm: line for line in (*section.methods, *section.controls, *section.ablations)}
        for name, other in study.config.compare:
            if name in lines and other in lines:
                one, two = lines[name], lines[other]
                for ours, theirs in zip(one.cells, two.cells, strict=True):
                    if ours.asked and theirs.asked:
                        yield Contrast(ours, theirs, one.label, two.label, compare(ours, theirs))


def _judged(one: Contrast, judged: Mapping[Hashable, Comparison]) -> Contrast:
    if one.comparison is None:
        return one
    return replace(one, comparison=judged.get(one.comparison.key, one.comparison))
