"""What FRAMER costs in training: measured time and memory of each arm, beside its baseline's and the paper's."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from framer.errors import UserError
from framer.report.claims import baseline_of
from framer.report.grid import Entry, Grid, Group, Row
from framer.report.layout import signed
from framer.report.published import COSTS, FOLDER, Published, read_rows
from framer.study import Study

COLUMNS = ("arm", "quantity", "value", "device")
QUANTITIES = {
    "train_seconds_per_step": "Training, s a step",
    "train_memory_gib": "Training, peak GiB",
    "restore_seconds_per_image": "Restoring, s an image",
    "restore_memory_gib": "Restoring, peak GiB",
}


def cost_grid(study: Study) -> list[Grid]:
    """The cost table, from `results/<study>/analysis/cost.csv` (columns arm, quantity, value, device).

    A measurement holds for one device, so it is recorded once and never made in passing. None where there is no file.

    Raises:
        UserError: the file has other columns, an arm or quantity that is not known, or a value that is no number.
    """
    path = study.out / "analysis" / "cost.csv"
    if not path.is_file():
        return []
    measured, device = _read(study, path)
    published = read_rows(FOLDER / COSTS) if (FOLDER / COSTS).is_file() else []
    rows = []
    for arm, config in study.config.arms.items():
        values = measured.get(arm, {})
        if not values:
            continue
        rows.append(Row(config.label, tuple(Entry(_text(values.get(q))) for q in QUANTITIES)))
        if base := baseline_of(study, arm):
            over = [_over(values.get(q), measured.get(base, {}).get(q)) for q in QUANTITIES]
            rows.append(Row(f"over {study.config.arms[base].label}", tuple(map(Entry, over)), minor=True))
            if config.backbone == "dit4sr" and study.config.backbones["dit4sr"].base != "tiny":
                rows.append(Row("paper", tuple(_paper(published, q) for q in QUANTITIES), minor=True))
    return [
        Grid(
            "cost",
            f"{study.config.title}: cost",
            f"Measured on {device}.",
            ("Method", *QUANTITIES.values()),
            (Group("", tuple(rows)),),
            "Ratios are within one run on one device; the paper's are of another device and batch.",
        )
    ]


def _read(study: Study, path: Path) -> tuple[dict[str, dict[str, float]], str]:
    measured: dict[str, dict[str, float]] = {}
    devices = set()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path}: needs the columns {', '.join(COLUMNS)}")
        for number, row in enumerate(reader, 2):
            try:
                value = float(row["value"])
            except (TypeError, ValueError):
                value = math.nan
            if row["arm"] not in study.config.arms or row["quantity"] not in QUANTITIES or not value > 0:
                raise UserError(f"{path}: line {number}: needs an arm of the study, a quantity and a positive value")
            measured.setdefault(row["arm"], {})[row["quantity"]] = value
            devices.add(row["device"])
    if len(devices) != 1:
        raise UserError(f"{path}: {len(devices)} devices; times of different devices do not compare")
    return measured, devices.pop()


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _over(value: float | None, base: float | None) -> str:
    return "" if value is None or not base else f"{signed(100 * (value / base - 1), 1)}%"


def _paper(published: list[Published], quantity: str) -> Entry:
    found: Mapping[str, Published] = {row.metric: row for row in published if row.method == "FRAMER_D"}
    row = found.get(quantity)
    return Entry(f"{signed(row.number, 0)}%", title=f"{row.source}, {row.dataset}") if row else Entry("")
