"""The published numbers, each with its source: `results/published/*.csv`, tidy, one row a number.

A published value stands beside a cell only where its metric has the same exact id. Where a paper's definition is not
known, its protocol is `unknown` and its numbers stand beside nothing.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from framer.errors import UserError, one_line
from framer.scoring.protocols import PROTOCOLS, Metric
from framer.study.grid import OWN_BASES
from framer.study.study import Study

FOLDER = Path("results") / "published"
COLUMNS = ("paper", "table", "dataset", "metric", "protocol", "method", "value", "source", "status")
STATUSES = ("quoted", "second-hand", "conflict")
"""Seen where it was published; quoted by a third party; two sources differ."""
PAPERS = {
    "framer": "FRAMER",
    "dit4sr": "DiT4SR",
    "freqortho-sr": "FreqOrtho-SR",
    "osediff": "OSEDiff",
    "tadsr": "TADSR",
}
"""How a paper calls its method; one that is not here is called by its id."""
GAINS = "framer_gains.csv"
"""FRAMER's gains over its baselines in percent, as its table prints them; their rows are apart."""
COSTS = "costs.csv"
"""Time and memory, which are no scores."""


PAPER_NAMES = {
    ("pisa_sr", False): "PiSA-SR",
    ("pisa_sr", True): "FRAMER_U",
    ("dit4sr", False): "DiT4SR",
    ("dit4sr", True): "FRAMER_D",
}
"""What the papers call a backbone at full size, without and with FRAMER."""


@dataclass(frozen=True)
class Published:
    """One published number."""

    paper: str
    table: str
    dataset: str
    metric: str
    protocol: str
    method: str
    value: str
    """As printed, with its decimals."""
    source: str
    status: str

    @property
    def number(self) -> float:
        """The value."""
        return float(self.value)

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit: the true value lies within."""
        return 0.5 * 10.0 ** -len(self.value.partition(".")[2])

    @property
    def origin(self) -> str:
        """Whose table it is from and how that is known, in words."""
        where = f"table {self.table}" if self.table.isdigit() else {"main": "main table"}.get(self.table, self.table)
        known = "its sources differ" if self.status == "conflict" else self.status
        return f"{PAPERS.get(self.paper, self.paper)}'s {where}, {known}"


@dataclass(frozen=True)
class Ledger:
    """All published numbers."""

    scores: tuple[Published, ...] = ()
    gains: tuple[Published, ...] = ()

    @classmethod
    def read(cls, folder: Path = FOLDER) -> "Ledger":
        """Read every CSV of a folder; a missing folder is an empty ledger.

        Raises:
            UserError: a file has other columns, a value that is no number, or an unknown status.
        """
        files = sorted(folder.glob("*.csv"))
        scores = [row for path in files if path.name not in (GAINS, COSTS) for row in read_rows(path)]
        return cls(tuple(scores), tuple(row for path in files if path.name == GAINS for row in read_rows(path)))

    def score(self, method: str, dataset: str, metric: Metric) -> tuple[Published, ...]:
        """What is published of a cell, under the same definition; several where papers or sources differ.

        A method's own paper goes before others, and a quoted value before a second-hand one. Another paper's value
        follows where it differs by more than rounding.
        """
        return _first(self.scores, method, dataset, metric.name, metric.id)

    def gain(self, method: str, dataset: str, metric: Metric) -> tuple[Published, ...]:
        """The gain over its baseline that FRAMER's table prints, in percent, under whatever definition."""
        return _first(self.gains, method, dataset, metric.name, None)


def same_definition(published: Published, metric: Metric) -> bool:
    """Whether a published number was computed by the same exact definition."""
    return _IDS.get((published.protocol, published.metric)) == metric.id


_IDS = {(protocol.name, metric.name): metric.id for protocol in PROTOCOLS.values() for metric in protocol.metrics}


def _first(
    rows: tuple[Published, ...], method: str, dataset: str, metric: str, metric_id: str | None
) -> tuple[Published, ...]:
    found = [
        row
        for row in rows
        if (row.method, row.dataset, row.metric) == (method, dataset, metric)
        and (metric_id is None or _IDS.get((row.protocol, row.metric)) == metric_id)
    ]
    if not found:
        return ()

    def rank(row: Published) -> tuple[bool, int, str, str]:
        return row.paper != method.lower(), STATUSES.index(row.status), row.paper, row.table

    best = min(found, key=rank)
    first = [row for row in found if (row.paper, row.table) == (best.paper, best.table)]
    others = [row for row in sorted(found, key=rank) if row not in first]
    return (*first, *(row for row in _distinct(others) if all(_differ(row, one) for one in first)))


def _differ(one: Published, other: Published) -> bool:
    """Whether two printed values cannot be roundings of one number."""
    return abs(one.number - other.number) > one.rounding + other.rounding


def _distinct(rows: list[Published]) -> Iterator[Published]:
    """Rows without those that repeat the value of an earlier one."""
    kept: list[Published] = []
    for row in rows:
        if all(_differ(row, one) for one in kept):
            kept.append(row)
            yield row


def read_rows(path: Path) -> list[Published]:
    """Read one CSV of published numbers.

    Raises:
        UserError: not a CSV in UTF-8, other columns, a value that is no finite number, or an unknown status.
    """
    rows = []
    try:
        reader = csv.DictReader(StringIO(path.read_text(encoding="utf-8"), newline=""))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"needs the columns {', '.join(COLUMNS)}", path=path, code="unreadable")
        for row in reader:
            line = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise UserError("not as many fields as the first line has", path=path, key=line, code="unreadable")
            if row["status"] not in STATUSES:
                message = f"status {row['status']!r} is not one of {', '.join(STATUSES)}"
                raise UserError(message, path=path, key=line)
            try:
                finite = math.isfinite(float(row["value"]))
            except ValueError:
                finite = False
            if not finite:
                raise UserError(f"value {row['value']!r} is not a finite number", path=path, key=line)
            rows.append(Published(**row))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not a CSV in UTF-8 ({one_line(error)})", path=path, code="unreadable") from None
    return rows


READINGS = {"paper": "paper", "released": "released code"}
"""The recipes that read FRAMER as published, and what they read; the paper's claims are about these alone."""


def paper_name(study: Study, arm: str) -> str | None:
    """The papers' name of an arm; None for bicubic, controls, ablations and networks that are not theirs."""
    config = study.arms[arm]
    if config.images:
        return config.label
    if (
        arm in study.ablation_arms
        or config.backbone is None
        or config.untrained
        or (config.recipe and config.recipe.name not in READINGS)
    ):
        return None
    if study.config.backbones[config.backbone].base in OWN_BASES:
        return None
    return PAPER_NAMES.get((config.backbone, config.recipe is not None))
