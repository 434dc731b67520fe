"""How figures look: one style for all of them, on paper and on a page.

On a page the figures are inline SVG: text stays text in the page's font, and every color is one of the page's, so that
they follow it into the dark. The files are made with the colors below, which stand for the page's variables.
"""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b87a00", "#56b4e9", "#7a5195", "#8c8c8c")
"""After the palette of Okabe and Ito, distinguishable with color vision deficiencies; a dark page has lighter ones."""
TEXT, FAINT, LINE = "#1d1f23", "#666c76", "#dfe1e4"
VARIABLES = {TEXT: "--text", FAINT: "--faint", LINE: "--line"} | {
    color: f"--series-{number}" for number, color in enumerate(COLORS)
}
"""The variables of the page, by the color that stands for each in a file."""
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlecolor": TEXT,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": TEXT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "framer",
    "lines.markersize": 4,
    "savefig.dpi": 150,
}
COLUMN, PAGE = 3.25, 6.875
"""Widths of one column and of both on the paper's page, inches."""
ACROSS = 3
EMPTY = "framer:empty"
"""Marks the SVG of a figure that has nothing to show."""


def literal(text: str) -> str:
    """Text of a study, such as a label, whose $ are no mathematics of Matplotlib's."""
    return text.replace("$", r"\$")


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, one in a column of the paper, up to three across its page; empty without any."""
    across = min(max(count, 1), ACROSS)
    rows = max(1, -(-count // ACROSS))
    width = COLUMN if across == 1 else PAGE
    height = width * 0.65 if across == 1 else max(width / across * 0.85, 2.0)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, across, number + 1) for number in range(count)]


def label(axis: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Name lines or points directly, at the right edge of the axes and in their colors, instead of in a legend.

    Args:
        axis: with its data and limits.
        points: x and y of the end of each line, or of each point, with its text and color.
    """
    if not points:
        return
    # Places along the edge, from 0 (bottom) to 1, moved apart by a line of text.
    height = axis.get_position().height * axis.figure.get_size_inches()[1] * 72  # type: ignore[union-attr]
    gap = 8.5 / max(height, 1)
    axis.autoscale_view()
    low, high = (axis.transScale.transform((1.0, y))[1] for y in axis.get_ylim())
    at = [(axis.transScale.transform((1.0, y))[1] - low) / ((high - low) or 1) for _, y, _, _ in points]
    placed = spread(at, gap)
    edge = blended_transform_factory(axis.transAxes, axis.transAxes)
    for (x, y, text, color), place in zip(points, placed, strict=True):
        axis.annotate(
            text,
            (x, y),
            xytext=(1.03, place),
            textcoords=edge,
            va="center",
            fontsize=6.5,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.4, "shrinkA": 1, "shrinkB": 2},
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places on [0, 1] apart by at least `gap`, as little as possible from where they were and in their order."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    groups: list[list[int]] = []

    def middle(group: list[int]) -> float:
        return sum(places[number] for number in group) / len(group)

    for number in order:
        groups.append([number])
        while len(groups) > 1:
            one, two = groups[-2:]
            if middle(two) - middle(one) >= gap * (len(one) + len(two)) / 2:
                break
            groups[-2:] = [one + two]
    moved = [0.0] * len(places)
    for group in groups:
        start = middle(group) - gap * (len(group) - 1) / 2
        for index, number in enumerate(group):
            moved[number] = start + gap * index
    return moved


def save(figure: Figure, path: Path, kind: str) -> None:
    """Write a figure as pdf or svg, without the date, so that the same figure has the same bytes."""
    figure.savefig(path, format=kind, metadata={"CreationDate": None} if kind == "pdf" else {"Date": None})
    if kind == "svg" and not figure.axes:
        path.write_text(f"<!-- {EMPTY} -->\n{path.read_text(encoding='utf-8')}", encoding="utf-8")


def inline(svg: str, name: str, text: str) -> str | None:
    """An SVG file of `save` for a page: its colors are the page's variables, and its ids are its own.

    Args:
        svg: content of the file.
        name: of the figure, which begins every id.
        text: what a screen reader reads of it.

    Returns:
        None for a figure that has nothing to show.
    """
    if svg.startswith(f"<!-- {EMPTY}"):
        return None
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    # The page's own font: Matplotlib names the fonts that it measured with.
    svg = re.sub(r"(font-family: |font: [^'\";]*px )[^;\"]*", r"\1system-ui, sans-serif", svg)
    for color, variable in VARIABLES.items():
        svg = re.sub(rf"(fill|stroke): {color}\b", rf"\1: var({variable})", svg, flags=re.IGNORECASE)
    size = re.search(r'<svg[^>]*? width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    style = f' style="max-width: {float(size[1]) * 4 / 3 * 1.25:.0f}px"' if size else ""
    svg = re.sub(r'(<svg[^>]*?) width="[\d.]+pt" height="[\d.]+pt"', rf"\1{style}", svg, count=1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(text, quote=True)}" ', 1)
