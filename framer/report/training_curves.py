"""Training curves as small SVG drawings that take their colours from the page."""

import csv
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

from framer.errors import UserError

WIDTH, HEIGHT = 320, 140
POINTS = 300
"""Most points of a drawn line; longer logs are averaged in bins of equal length."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 20


@dataclass(frozen=True)
class Curve:
    """One stage of a training run: its loss by step (at most `POINTS`), and the held-out loss where it was measured."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    heldout: tuple[tuple[int, float], ...]


def read_curves(folder: Path) -> dict[str, Curve]:
    """Read `log.csv` (columns stage, step, loss, ...) and `heldout.csv` (stage, step, loss) of a run or base.

    FRAMER's own term, where there is one, is left out of the loss: so arms with and without it can be compared.

    Returns:
        A curve a stage; none for a stage without a step, as of a base that is kept untrained.

    Raises:
        UserError: a log without these columns or with something that is no number.
    """
    heldout = _rows(folder / "heldout.csv")
    curves = {}
    for stage, rows in _rows(folder / "log.csv").items():
        size = math.ceil(len(rows) / POINTS)
        bins = [rows[start : start + size] for start in range(0, len(rows), size)]
        steps = tuple(part[-1][0] for part in bins)
        losses = tuple(math.fsum(loss for _, loss in part) / len(part) for part in bins)
        curves[stage] = Curve(steps, losses, tuple(heldout.get(stage, [])))
    return curves


def svg(curve: Curve, label: str) -> str:
    """A drawing of the loss on a log axis: its points faint, a running mean strong, held-out losses as dots.

    Args:
        curve: at least one step.
        label: what a screen reader says; escaped here.
    """
    positive = [loss for loss in (*curve.losses, *(loss for _, loss in curve.heldout)) if loss > 0]
    low, high = (math.log10(min(positive)), math.log10(max(positive))) if positive else (0.0, 0.0)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    last = max(*curve.steps, *(step for step, _ in curve.heldout), 1)

    def point(step: float, loss: float) -> str:
        x = _LEFT + (WIDTH - _LEFT - _RIGHT) * step / last
        y = _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - math.log10(max(loss, 10**low))) / (high - low)
        return f"{x:.1f},{y:.1f}"

    def line(values: list[float], name: str) -> str:
        points = " ".join(point(step, loss) for step, loss in zip(curve.steps, values, strict=True))
        return f'<polyline class="{name}" points="{points}"/>'

    bottom = HEIGHT - _BOTTOM
    dots = [point(step, loss).split(",") for step, loss in curve.heldout]
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label, quote=True)}">',
            f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{WIDTH - _RIGHT}"/>',
            f'<text x="{_LEFT - 4}" y="{_TOP + 8}" class="end">{10**high:.2g}</text>',
            f'<text x="{_LEFT - 4}" y="{bottom}" class="end">{10**low:.2g}</text>',
            f'<text x="{_LEFT}" y="{HEIGHT - 4}">0</text>',
            f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 4}" class="end">step {last}</text>',
            line(list(curve.losses), "raw"),
            line(running_mean(curve.losses), "mean"),
            *(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in dots),
            "</svg>",
        ]
    )


def running_mean(values: tuple[float, ...]) -> list[float]:
    """Mean over the last twentieth of the run, at least one step."""
    window = max(1, len(values) // 20)
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    starts = [max(0, end - window) for end in range(1, len(sums))]
    return [(sums[end] - sums[start]) / (end - start) for end, start in enumerate(starts, 1)]


def _rows(path: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, loss) by stage."""
    if not path.is_file():
        return {}
    stages: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                loss = float(row["loss"]) - float(row.get("framer") or 0)
                stages.setdefault(row["stage"], []).append((int(row["step"]), loss))
    except (KeyError, TypeError, ValueError, csv.Error):
        raise UserError(f"{path}: needs the columns stage, step and loss with numbers; make the run again") from None
    return stages
