"""Training curves, read from the logs of runs."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from framer.errors import UserError
from framer.provenance.cards import CARD, read_card

POINTS = 300
"""Most points of a drawn line; longer logs are averaged in bins of equal length."""


@dataclass(frozen=True)
class Curve:
    """One stage of a training run: its loss by step (at most `POINTS`), and the held-out loss where it was measured."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    heldout: tuple[tuple[int, float], ...]


def read_curves(folder: Path) -> dict[str, Curve]:
    """Read `log.csv` (columns stage, step, loss, ...) and `heldout.csv` (stage, step, loss) of a run.

    The term of FRAMER or of a rival, where there is one, is left out of the loss, so that all arms can be compared.

    Returns:
        A curve a stage; none for a stage without a step, as of a run that is kept untrained or was converted.

    Raises:
        UserError: a log without these columns or with something that is no number, or one that the run's card lists and
            that is missing.
    """
    if (folder / CARD).is_file():
        listed = read_card(folder, "run")["payload"]
        for name in ("log.csv", "heldout.csv"):
            if name in listed and not (folder / name).is_file():
                message = f"missing, although {folder / CARD} lists it; make the run again"
                raise UserError(message, path=folder / name, code="missing")
    heldout = _rows(folder / "heldout.csv")
    curves = {}
    for stage, rows in _rows(folder / "log.csv").items():
        size = math.ceil(len(rows) / POINTS)
        bins = [rows[start : start + size] for start in range(0, len(rows), size)]
        steps = tuple(part[-1][0] for part in bins)
        losses = tuple(math.fsum(loss for _, loss in part) / len(part) for part in bins)
        curves[stage] = Curve(steps, losses, tuple(heldout.get(stage, [])))
    return curves


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
                own = row.get("framer") or row.get("frequency") or 0
                loss = float(row["loss"]) - float(own)
                stages.setdefault(row["stage"], []).append((int(row["step"]), loss))
    except (KeyError, TypeError, ValueError, csv.Error):
        message = "needs the columns stage, step and loss with numbers; make the run again"
        raise UserError(message, path=path, code="unreadable") from None
    return stages
