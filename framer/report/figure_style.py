"""How figures look: one style for all of them."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""The palette of Okabe and Ito, distinguishable with color vision deficiencies."""
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 6.5,
    "pdf.fonttype": 42,
    "lines.markersize": 4,
    "savefig.dpi": 150,
}
SIDE = 2.6
"""Of a panel, inches."""
ACROSS = 4


def literal(text: str) -> str:
    """Text of a study, such as a label, whose $ are no mathematics of Matplotlib's."""
    return text.replace("$", r"\$")


def panels(count: int, otherwise: str) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, four across; without any, one line of text."""
    columns, rows = min(max(count, 1), ACROSS), max(1, -(-count // ACROSS))
    figure = Figure(figsize=(SIDE * columns, SIDE * rows), layout="constrained")
    if count == 0:
        figure.set_size_inches(SIDE * 2, 0.6)
        figure.text(0.5, 0.5, otherwise, ha="center", va="center")
        return figure, []
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    return figure, axes
