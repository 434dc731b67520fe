"""What changed against an older result folder: values, arms, and the hashes of what made the same values."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framer.errors import UserError
from framer.provenance.hashing import sha256_file
from framer.report.cells import Cell, Table, exact
from framer.report.main_table import signed
from framer.report.render_table import Entry, Grid, Group, Row

Key = tuple[str, str, str, str]
"""Arm, set, protocol, metric."""
NEEDED = ("arm", "set", "protocol", "metric", "metric_id", "mean", "id")


@dataclass(frozen=True)
class Changes:
    """What changed, in words and as tables; no table where there is nothing to list."""

    sentences: tuple[str, ...]
    grids: tuple[Grid, ...]


def changes(found: Iterable[Table], older: Path, records: Mapping[str, Path]) -> Changes:
    """Compare the cells of a study with those of an older result folder.

    Args:
        found: tables of the study as it is now.
        older: result folder, whose `tables/main.csv` is read.
        records: cards and sidecars of the study by their path in its result folder.

    Raises:
        UserError: there is no such table, or it is not one of ours.
    """
    before = _read(older / "tables" / "main.csv")
    tables = list(found)
    now = {(cell.arm, cell.set, cell.protocol, cell.metric.name): cell for table in tables for cell in table.cells}
    labels = {
        line.arm: line.label
        for table in tables
        for section in table.sections
        for line in (*section.methods, *section.controls, *section.ablations)
    }
    shared = [key for key in now if key in before]
    moved = [key for key in shared if before[key]["mean"] != exact(now[key].mean) or _redefined(before[key], now[key])]
    remade = [key for key in shared if key not in moved and before[key]["id"] != now[key].id]
    hashes = [(name, *pair) for name, path in records.items() if (pair := _hashes(older / name, path))]
    grids = (
        _grid("moved", "Values that changed", ("Cell", "Before", "Now", "Difference", "Hash before, now"),
              [_moved(labels, key, before[key], now[key]) for key in moved]),
        _grid("remade", "The same values, made from something else", ("Cell", "Value", "Hash before", "Hash now"),
              [_remade(labels, key, before[key], now[key]) for key in remade]),
        _grid("cards", "Cards that changed", ("Card", "Before", "Now"),
              [Row(name, (Entry(old), Entry(new))) for name, old, new in hashes]),
    )  # fmt: skip
    counts = f"{len(moved)} of {len(shared)} cells changed their value, {len(remade)} kept it and have another hash."
    arms = _arms(labels, [key[0] for key in now], [key[0] for key in before])
    only = (f"{len(now.keys() - before.keys())} cells are new, {len(before.keys() - now.keys())} are gone.",)
    return Changes((counts, *only, *arms), tuple(grid for grid in grids if grid.groups[0].rows))


def _read(path: Path) -> dict[Key, dict[str, str]]:
    if not path.is_file():
        message = "not there; name the result folder of a study that has been rendered, such as results/NAME"
        raise UserError(message, path=path, key="--since", code="missing")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            float(row["mean"] or 0)
        return {(row["arm"], row["set"], row["protocol"], row["metric"]): {k: row[k] for k in NEEDED} for row in rows}
    except (KeyError, TypeError, ValueError, csv.Error):
        message = f"needs the columns {', '.join(NEEDED)}; render its tables again"
        raise UserError(message, path=path, key="--since", code="unreadable") from None


def _redefined(old: Mapping[str, str], new: Cell) -> bool:
    return old["metric_id"] != new.metric.id


def _hashes(old: Path, new: Path) -> tuple[str, str] | None:
    """The first digits of two files' hashes, where both are there and differ."""
    if not old.is_file():
        return None
    pair = sha256_file(old)[:12], sha256_file(new)[:12]
    return pair if pair[0] != pair[1] else None


def _arms(labels: Mapping[str, str], now: Sequence[str], before: Sequence[str]) -> Iterator[str]:
    for word, some, others in (("Added", now, before), ("Removed", before, now)):
        if arms := [labels.get(arm, arm) for arm in dict.fromkeys(some) if arm not in others]:
            yield f"{word}: {', '.join(arms)}."


def _name(labels: Mapping[str, str], key: Key, cell: Cell) -> str:
    return f"{labels[key[0]]}, {cell.metric.heading} ({key[1]}, {key[2]})"


def _moved(labels: Mapping[str, str], key: Key, old: Mapping[str, str], new: Cell) -> Row:
    digits = new.metric.digits
    was = float(old["mean"]) if old["mean"] else None
    difference = "" if was is None or new.mean is None else signed(new.mean - was, digits)
    note = f"Another definition: {old['metric_id']}, now {new.metric.id}" if _redefined(old, new) else new.reason
    before = Entry("n/a" if was is None else f"{was:.{digits}f}", title=old["mean"])
    entries = (before, Entry(new.text, title=exact(new.mean)), Entry(difference, note=note))
    return Row(_name(labels, key, new), (*entries, Entry(f"{old['id'] or '-'}, {new.id or '-'}")))


def _remade(labels: Mapping[str, str], key: Key, old: Mapping[str, str], new: Cell) -> Row:
    return Row(_name(labels, key, new), (Entry(new.text), Entry(old["id"] or "-"), Entry(new.id or "-")))


def _grid(name: str, title: str, columns: tuple[str, ...], rows: Sequence[Row]) -> Grid:
    return Grid(f"changes-{name}", title, "", columns, (Group("", tuple(rows)),), "", words=True)
