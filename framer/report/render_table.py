"""A table as it is printed, whatever is in it: Markdown for terminals, LaTeX with booktabs, HTML, CSV as it is read."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from itertools import groupby
from math import ceil
from textwrap import fill
from typing import TypeVar

from tabulate import tabulate

from framer.provenance.files import csv_text
from framer.report.significance import Tier

Part = TypeVar("Part")
PAGE = 60
"""Lines of a table in LaTeX that fit on a page of the class article, those of its caption and footnotes included."""
CAPTION, BELOW, CELL = 70, 105, 20
"""Characters of a line of the caption, of the footnotes, and of a cell of words, at least."""
TERMINAL = 120
"""Columns of a terminal, into which the text around a table is wrapped; the tables of the paper study fit too."""


@dataclass(frozen=True)
class Entry:
    """What stands in one place."""

    text: str
    tier: Tier = Tier.NONE
    note: str | None = None
    """A footnote."""
    title: str = ""
    """What HTML shows of it on demand: lines of text."""


@dataclass(frozen=True)
class Row:
    """A label and one entry a column. A `minor` row belongs to the one above it."""

    label: str
    entries: tuple[Entry, ...]
    note: str | None = None
    minor: bool = False


@dataclass(frozen=True)
class Group:
    """Rows under a common heading; an empty heading is not printed."""

    heading: str
    rows: tuple[Row, ...]
    continued: bool = False
    """Whether it belongs to the group above it."""


@dataclass(frozen=True)
class Grid:
    """A whole table.

    Attributes:
        key: short name, for LaTeX's label and HTML's ids.
        title: heading.
        caption: what the numbers are, without which they must not be read.
        columns: headings; the first is that of the labels.
        groups: the rows.
        reading: how the cells were made and what the marks mean.
        words: whether the columns hold words, which are left-aligned, and not numbers.
        protocol: under which its numbers are; empty where it has nothing to do with one.
    """

    key: str
    title: str
    caption: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    reading: str
    words: bool = False
    protocol: str = ""

    @cached_property
    def notes(self) -> dict[str, int]:
        """The number of each footnote, in order of first use."""
        notes = dict.fromkeys(note for group in self.groups for row in group.rows for note in _notes(row))
        return {note: number for number, note in enumerate(notes, 1)}


def markdown(grid: Grid) -> str:
    """A table for each group, with its heading; footnotes below. Bold and italics stand for the marks."""
    parts = [f"## {_escape_markdown(grid.title)}", _wrapped(grid.caption)]
    alignment = ["left", *("left" if grid.words else "right" for _ in grid.columns[1:])]
    for first, *rest in _together(grid.groups):
        rows = [_markdown_row(row, grid) for row in first.rows]
        for group in rest:
            rows.append([f"*{_escape_markdown(group.heading)}*"] + [""] * (len(grid.columns) - 1))
            rows += [_markdown_row(row, grid) for row in group.rows]
        parts.append(f"### {_escape_markdown(first.heading)}" if first.heading else "")
        parts.append(tabulate(rows, list(grid.columns), "pipe", colalign=alignment, disable_numparse=True))
    notes = (_wrapped(f"[{number}] {_escape_markdown(note)}.") + "  " for note, number in grid.notes.items())
    parts += ["\n".join(notes), _wrapped(grid.reading)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _together(groups: Iterable[Group]) -> list[list[Group]]:
    """Groups, each with those that belong to it."""
    return _led(groups, lambda group: group.continued)


def _blocks(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows, each with its minor rows."""
    return _led(rows, lambda row: row.minor)


def _led(parts: Iterable[Part], follows: Callable[[Part], bool]) -> list[list[Part]]:
    """Parts in lists, each begun by one that does not follow another."""
    found: list[list[Part]] = []
    for part in parts:
        if found and follows(part):
            found[-1].append(part)
        else:
            found.append([part])
    return found


def _wrapped(text: str) -> str:
    return fill(text, TERMINAL, break_long_words=False, break_on_hyphens=False)


def latex(grid: Grid) -> str:
    """A `table` environment, or several where not all fits on a page; needs the package booktabs.

    It is split between its groups, and within one where that alone is too long, never between a row and its minor rows.
    """
    if _lines(grid) <= PAGE:
        return _float(grid)
    parts = _together(grid.groups)
    split = [grid] if len(parts) == 1 else [_part(grid, number, groups) for number, groups in enumerate(parts, 1)]
    return "\n".join(_float(page) for part in split for page in _pages(part))


def _part(grid: Grid, number: int, groups: list[Group]) -> Grid:
    first, *rest = groups
    title = f"{grid.title}, {first.heading}" if first.heading else grid.title
    return replace(grid, key=f"{grid.key}-{number}", title=title, groups=(replace(first, heading=""), *rest))


def _pages(grid: Grid) -> list[Grid]:
    """The grid, cut into as many as it takes for each to fit on a page."""
    pages: list[list[Group]] = [[]]
    for block in (replace(group, rows=tuple(rows)) for group in grid.groups for rows in _blocks(group.rows)):
        if pages[-1] and _lines(replace(grid, groups=_joined([*pages[-1], block]))) > PAGE:
            pages.append([])
        pages[-1].append(block)
    if len(pages) == 1:
        return [grid]
    return [
        replace(grid, key=f"{grid.key}-{n}", title=f"{grid.title} ({n} of {len(pages)})", groups=_joined(blocks))
        for n, blocks in enumerate(pages, 1)
    ]


def _joined(blocks: Iterable[Group]) -> tuple[Group, ...]:
    """Groups of which the rows of one heading stand together."""
    parts = groupby(blocks, key=lambda group: (group.heading, group.continued))
    return tuple(
        Group(heading, tuple(row for group in groups for row in group.rows), continued)
        for (heading, continued), groups in parts
    )


def _lines(grid: Grid) -> float:
    """About how many lines of the size of its rows it has."""
    below = len(grid.reading) + sum(len(note) + 5 for note in grid.notes)
    around = 4 + 1.5 * ceil(len(f"{grid.title}. {grid.caption}") / CAPTION) + ceil(below / BELOW)
    rows = [row for group in grid.groups for row in group.rows]
    cells = ((row.label, *(entry.text for entry in row.entries)) if grid.words else ("",) for row in rows)
    return around + 2 * len(grid.groups) + sum(max(ceil(len(text) / CELL) or 1 for text in texts) for texts in cells)


def _float(grid: Grid) -> str:
    columns = "p{25mm}lllp{22mm}" if grid.words else "l" + "r" * (len(grid.columns) - 1)
    footnotes = (f"${{}}^{{{number}}}$\\,{_escape_latex(note)}." for note, number in grid.notes.items())
    below = " ".join([_escape_latex(underlined(grid.reading)), *footnotes])
    lines = [
        "\\begin{table}[tbp]",
        "\\centering",
        f"\\caption{{{_escape_latex(f'{grid.title}. {grid.caption}')}}}",
        f"\\label{{tab:{grid.key}}}",
        # Six metrics and a long name fit the text width of a standard article only like this.
        "\\scriptsize",
        "\\setlength{\\tabcolsep}{2pt}",
        f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        "\\toprule",
        _latex_row(["", *map(_escape_latex, grid.columns[1:])]),
        *(line for group in grid.groups for line in _latex_group(group, grid)),
        "\\bottomrule",
        "\\end{tabular}",
        f"\\par\\medskip\\parbox{{\\textwidth}}{{\\scriptsize {below}}}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_group(group: Group, grid: Grid) -> Iterator[str]:
    yield "\\midrule"
    if group.heading:
        yield f"\\multicolumn{{{len(grid.columns)}}}{{@{{}}l}}{{\\textit{{{_escape_latex(group.heading)}}}}} \\\\"
    for row in group.rows:
        yield _latex_row([_latex_label(row, grid), *(_latex_entry(entry, row, grid) for entry in row.entries)])


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + " \\\\"


def html(grid: Grid, notes: Mapping[str, int] | None = None) -> str:
    """A `table` element; every text is escaped.

    Args:
        grid: the table.
        notes: the number of each footnote, of a page that lists those of all its tables once; None for a list of its
            own, below the table.
    """
    numbers = grid.notes if notes is None else notes
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in grid.columns)
    lines = [f'<table class="{"words" if grid.words else "numbers"}">', f"<thead><tr>{head}</tr></thead>"]
    for group in grid.groups:
        lines.append("<tbody>")
        if group.heading:
            span = len(grid.columns)
            lines.append(f'<tr><th class="group" colspan="{span}" scope="rowgroup">{escape(group.heading)}</th></tr>')
        lines += [_html_row(row, numbers) for row in group.rows]
        lines.append("</tbody>")
    lines.append("</table>")
    if notes is None and numbers:
        lines += ['<ol class="notes">', *(f"<li>{escape(note)}.</li>" for note in numbers), "</ol>"]
    return "\n".join(lines) + "\n"


def csv(grid: Grid) -> str:
    """The rows with the texts that are printed: group, label, entries, then the footnotes of the row."""
    rows = [
        [group.heading, row.label, *(entry.text for entry in row.entries), "; ".join(dict.fromkeys(_notes(row)))]
        for group in grid.groups
        for row in group.rows
    ]
    return csv_text(("Group", *grid.columns, "Notes"), rows)


def underlined(reading: str) -> str:
    """How a table is read where the next tier is underlined, which Markdown cannot do."""
    return reading.replace("italic", "underlined")


def page(grids: list[Grid]) -> str:
    """Tables as an HTML document of their own."""
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}table{border-collapse:collapse}"
        "th,td{padding:.3rem .75rem;text-align:right;white-space:nowrap}.words td,th:first-child{text-align:left}"
        "thead th{border-block:1px solid}tbody+tbody{border-top:1px solid #8888}.group{font-style:italic}"
        ".best{font-weight:700}.next{text-decoration:underline}.minor,.notes{font-size:.85em;opacity:.75}"
    )
    parts = ["<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">']
    parts += [f"<title>{escape(grids[0].title if grids else 'Tables')}</title>", f"<style>{style}</style>", "</head>"]
    parts.append("<body>")
    for grid in grids:
        parts += [f"<h2>{escape(grid.title)}</h2>", f"<p>{escape(grid.caption)}</p>", html(grid).rstrip()]
        parts.append(f"<p>{escape(underlined(grid.reading))}</p>")
    return "\n".join([*parts, "</body>", "</html>"]) + "\n"


def _notes(row: Row) -> Iterator[str]:
    yield from (note for note in (row.note, *(entry.note for entry in row.entries)) if note)


def _markdown_row(row: Row, grid: Grid) -> list[str]:
    texts = []
    for entry in row.entries:
        text = _escape_markdown(entry.text)
        marked = {Tier.BEST: f"**{text}**", Tier.NEXT: f"*{text}*"}.get(entry.tier, text)
        texts.append(marked + (f" [{grid.notes[entry.note]}]" if entry.note else ""))
    label = ("– " if row.minor else "") + _escape_markdown(row.label)
    return [label + (f" [{grid.notes[row.note]}]" if row.note else ""), *texts]


def _html_row(row: Row, numbers: Mapping[str, int]) -> str:
    cells = []
    for entry in row.entries:
        kind = entry.tier.value or ("none" if entry.note else "")
        attributes = (f' class="{kind}"' if kind else "") + _about(entry.title, entry.note)
        cells.append(f"<td{attributes}>{escape(entry.text)}{_sup(entry.note, numbers)}</td>")
    head = f'<th scope="row"{_about(row.note)}>{escape(row.label)}{_sup(row.note, numbers)}</th>'
    kind = ' class="minor"' if row.minor else ""
    return f"<tr{kind}>{head}{''.join(cells)}</tr>"


def _about(*texts: str | None) -> str:
    """What HTML shows of a cell on demand, its footnote included."""
    lines = "\n".join(filter(None, texts))
    return f' title="{escape(lines)}"' if lines else ""


def _sup(note: str | None, numbers: Mapping[str, int]) -> str:
    return f"<sup>{numbers[note]}</sup>" if note else ""


def _latex_label(row: Row, grid: Grid) -> str:
    label = f"\\quad\\scriptsize {_escape_latex(row.label)}" if row.minor else _escape_latex(row.label)
    return label + (f"${{}}^{{{grid.notes[row.note]}}}$" if row.note else "")


def _latex_entry(entry: Entry, row: Row, grid: Grid) -> str:
    text = _escape_latex(entry.text)
    marked = {Tier.BEST: f"\\textbf{{{text}}}", Tier.NEXT: f"\\underline{{{text}}}"}.get(entry.tier, text)
    note = f"${{}}^{{{grid.notes[entry.note]}}}$" if entry.note else ""
    return f"{{\\scriptsize {marked}{note}}}" if row.minor and marked else marked + note


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": "$-$", "–": "--", "×": r"$\times$", "∞": r"$\infty$"}
    | {"±": r"$\pm$", "λ": r"$\lambda$"}
)


def _escape_latex(text: str) -> str:
    return text.translate(_LATEX)


def _escape_markdown(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*[]|<" else character for character in text)
