"""The main table of a study as Markdown, CSV and LaTeX, from score files alone."""

import csv
from io import StringIO
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from framer.provenance import write_text
from framer.report.cells import Cell, Line, Section, Table, tables
from framer.study import Study

CSV_COLUMNS = ("arm", "set", "protocol", "metric", "metric_id", "mean", "n_images", "n_seeds", "reason")


def render(study: Study, out: Path, absent: dict[str, str] | None = None) -> None:
    """Write `main.md`, `main.csv` and `main.tex` into `out`: one table a protocol.

    Args:
        study: whose scores are read.
        out: folder of the tables.
        absent: sets that are not on this machine, each with the reason; their cells are `n/a`.

    Raises:
        UserError: see `framer.report.cells.tables`.
    """
    found = tables(study, absent or {})
    write_text(out / "main.md", "\n".join(markdown(table, study.config.title) for table in found))
    write_text(out / "main.csv", tidy([cell for table in found for cell in table.cells]))
    write_text(out / "main.tex", "\n".join(latex(table, study.config.title) for table in found))


def caption(table: Table) -> str:
    """What the numbers are, in words, without which they must not be read."""
    return f"Protocol {table.protocol.name}: {table.protocol.summary}."


def reading(table: Table) -> str:
    """How the cells were made and what the marks mean."""
    seeds = max((cell.n_seeds for cell in table.cells), default=0)
    means = "Means over images"
    if seeds == 1:
        means += ", from one training seed: a difference holds for these checkpoints only"
    elif seeds > 1:
        means += f", then over {seeds} training seeds"
    marks = "Bold: the best of its column, and what prints as the same number."
    return f"{means}. {marks} Controls are not methods and are never bold."


def section_heading(section: Section) -> str:
    """A set's title, id and number of images."""
    count = f", {section.n_images} images" if section.n_images else ""
    return f"{section.title} ({section.set}{count})"


def markdown(table: Table, title: str) -> str:
    """One Markdown table with a heading row a set; footnotes below."""
    rows = []
    for section in table.sections:
        if len(table.sections) > 1:
            rows.append([f"*{_escape_markdown(section_heading(section))}*"])
        rows += [_markdown_row(line, table) for line in section.methods]
        if section.controls:
            rows.append(["*Controls*"])
            rows += [_markdown_row(line, table) for line in section.controls]
    headers = ["Method", *(metric.heading for metric in table.metrics)]
    alignment = ["left", *("right" for _ in table.metrics)]
    full = [row + [""] * (len(headers) - len(row)) for row in rows]
    body = tabulate(full, headers=headers, tablefmt="pipe", colalign=alignment, disable_numparse=True)
    heading = f": {section_heading(table.sections[0])}" if len(table.sections) == 1 else ""
    notes = [f"[{number}] {_escape_markdown(reason)}." for reason, number in table.notes.items()]
    parts = [f"## {title}{heading}", caption(table), body, "\n".join(f"{note}  " for note in notes), reading(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def tidy(cells: list[Cell]) -> str:
    """Every cell as a CSV row; a mean with all its digits, empty where there is none."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for cell in cells:
        mean = "" if cell.mean is None else repr(cell.mean)
        where = (cell.arm, cell.set, cell.protocol, cell.metric.name, cell.metric.id)
        writer.writerow([*where, mean, cell.n_images, cell.n_seeds, cell.reason or ""])
    return text.getvalue()


def latex(table: Table, title: str) -> str:
    """A `table` environment; needs the package booktabs."""
    lines = [line for section in table.sections for line in (*section.methods, *section.controls)]
    frame = pd.DataFrame(
        [[_latex_cell(cell, table) for cell in line.cells] for line in lines],
        index=[_latex_label(line, table) for line in lines],
        columns=[_latex_heading(metric.title, metric.higher_is_better) for metric in table.metrics],
    )
    where = f": {section_heading(table.sections[0])}" if len(table.sections) == 1 else ""
    notes = " ".join(f"${{}}^{{{number}}}$\\,{_escape_latex(reason)}." for reason, number in table.notes.items())
    text = frame.style.to_latex(
        hrules=True,
        column_format=f"@{{}}l{'r' * len(table.metrics)}@{{}}",
        position="tbp",
        position_float="centering",
        caption=_escape_latex(f"{title}{where}. {caption(table)} {reading(table)}") + (f" {notes}" if notes else ""),
        label=f"tab:main-{table.protocol.name}",
    )
    return _laid_out(text, table)


def _laid_out(text: str, table: Table) -> str:
    r"""Put each set's heading and the rule above its controls between the rows that Styler wrote."""
    # Six metrics and a long name fit the text width of a standard article only like this.
    text = text.replace("\\begin{tabular}", "\\footnotesize\n\\setlength{\\tabcolsep}{2.5pt}\n\\begin{tabular}", 1)
    head, rule, rest = text.partition("\\midrule\n")
    body, end, tail = rest.partition("\\bottomrule\n")
    rows = iter(body.splitlines(keepends=True))
    parts = []
    for number, section in enumerate(table.sections):
        if number:
            parts.append(rule)
        if len(table.sections) > 1:
            heading = _escape_latex(section_heading(section))
            parts.append(f"\\multicolumn{{{len(table.metrics) + 1}}}{{l}}{{\\textit{{{heading}}}}} \\\\\n")
        parts += [next(rows) for _ in section.methods]
        if section.controls:
            parts.append(rule)
            parts += [next(rows) for _ in section.controls]
    return head + rule + "".join(parts) + end + tail


def _markdown_row(line: Line, table: Table) -> list[str]:
    texts = []
    for cell in line.cells:
        note = f" [{table.notes[cell.reason]}]" if cell.reason else ""
        texts.append(f"**{cell.text}**" if cell.best else cell.text + note)
    note = f" [{table.notes[line.source]}]" if line.source else ""
    return [_escape_markdown(line.label) + note, *texts]


def _latex_label(line: Line, table: Table) -> str:
    note = f"${{}}^{{{table.notes[line.source]}}}$" if line.source else ""
    return _escape_latex(line.label) + note


def _latex_cell(cell: Cell, table: Table) -> str:
    if cell.reason:
        return f"n/a${{}}^{{{table.notes[cell.reason]}}}$"
    return f"\\textbf{{{cell.text}}}" if cell.best else cell.text


def _latex_heading(title: str, higher_is_better: bool) -> str:
    return f"{_escape_latex(title)} $\\{'up' if higher_is_better else 'down'}arrow$"


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
)


def _escape_latex(text: str) -> str:
    return text.translate(_LATEX)


def _escape_markdown(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*[]|<" else character for character in text)
