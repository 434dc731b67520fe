"""The tables of a page: a tab for each protocol, each footnote once on the page, and every table as text to copy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from framer.report.render_table import Grid, csv, html, latex, underlined


@dataclass(frozen=True)
class Printed:
    """One table: its texts as it stands on the page, and what its buttons copy."""

    title: str
    caption: str
    table: Markup
    reading: str
    latex: str
    csv: str


@dataclass(frozen=True)
class Tab:
    """The tables of one protocol; of none where the name is empty."""

    protocol: str
    tables: tuple[Printed, ...]


def footnotes(grids: Iterable[Grid]) -> dict[str, int]:
    """The number of each footnote of some tables, in order of first use."""
    notes = dict.fromkeys(note for grid in grids for note in grid.notes)
    return {note: number for number, note in enumerate(notes, 1)}


def tabs(grids: Sequence[Grid], notes: Mapping[str, int]) -> list[Tab]:
    """Tables by protocol, both in the order in which they come.

    Args:
        grids: tables of one section.
        notes: the number of each of their footnotes on the page.
    """
    protocols = dict.fromkeys(grid.protocol for grid in grids)
    return [Tab(name, tuple(_printed(grid, notes) for grid in grids if grid.protocol == name)) for name in protocols]


def _printed(grid: Grid, notes: Mapping[str, int]) -> Printed:
    table = Markup(html(grid, notes))
    return Printed(grid.title, grid.caption, table, underlined(grid.reading), latex(grid), csv(grid))
