"""Score files: per row of the tables, or per method whose scores others published."""

import csv
import hashlib
import json
import math
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framer.errors import UserError, one_line
from framer.provenance.files import csv_text, write_json, write_text
from framer.provenance.output import claimed_file
from framer.scoring.protocols import Metric, Protocol

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """One score file and its sidecar."""

    path: Path
    values: dict[str, dict[str, float]]
    """By metric and image stem."""
    sidecar: dict[str, Any]

    @cached_property
    def stems(self) -> tuple[str, ...]:
        """The images, by file name without suffix, sorted: methods may differ in file format."""
        return tuple(sorted(Path(name).stem for name in self.sidecar["images"]))

    def column(self, metric: Metric) -> Array | str:
        """One value per image in the order of `stems`, or a single one for a whole set; or why there is none."""
        if reason := self.sidecar["unavailable"].get(metric.name):
            return str(reason)
        if metric.name not in self.values or self.sidecar["metrics"].get(metric.name) is None:
            return f"{metric.title} is not in the score files, which were made for fewer metrics; score again"
        if (other := self.sidecar["metrics"][metric.name]) != metric.id:
            return f"{metric.title} was published as {other}, which is not {metric.id}"
        values = self.values[metric.name]
        if set(values) == {WHOLE_SET}:
            return np.array([values[WHOLE_SET]])
        if values.keys() != set(self.stems):
            return f"{metric.title} is not in the score files for all images; score again"
        return np.array([values[stem] for stem in self.stems])


def read_scores(path: Path, protocol: Protocol) -> Scores:
    """Read one score file of a study, and check it against its sidecar and against the protocol's definitions.

    Raises:
        UserError: one of the two files is missing or damaged, or the definitions differ.
    """
    scores = read_file(path)
    ids = scores.sidecar["metrics"]
    for metric in protocol.metrics:
        if ids.get(metric.name, metric.id) != metric.id:
            message = f"{ids[metric.name]}, where protocol {protocol.name!r} now defines {metric.id}"
            raise UserError(f"{message}; delete the file and score again", path=path, key=metric.name, code="mismatch")
    return scores


def read_methods(set_id: str, protocol: Protocol, arms: Container[str] = ()) -> dict[str, Scores]:
    """Published scores of other methods on a set under a protocol, by method.

    Where a metric was computed by another definition than the protocol's, its cells are n/a with that reason.

    Raises:
        UserError: a file is damaged or has no label and source, or a method has the name of one of `arms`.
    """
    found = {}
    for path in sorted(METHODS.glob(f"*/{set_id}/{protocol.name}.csv")):
        scores = read_file(path)
        if not {"label", "source"} <= scores.sidecar.keys():
            message = "needs the keys label and source; import the scores again"
            raise UserError(message, path=path.with_suffix(".json"), code="missing")
        name = path.parts[-3]
        if name in arms:
            message = f"{name} is also an arm of the study; rename the folder"
            raise UserError(message, path=path.parents[1], code="conflict")
        found[name] = scores
    return found


def read_file(path: Path) -> Scores:
    """Read any score file and its sidecar, whatever its definitions.

    Raises:
        UserError: one of the two files is missing or damaged, or the sidecar is that of another file.
    """
    sidecar_path = path.with_suffix(".json")
    try:
        content = path.read_bytes()
        sidecar = json.loads(sidecar_path.read_text(encoding="utf-8"))
        tables = [sidecar[key] for key in ("metrics", "unavailable", "images")]
        if not all(isinstance(table, dict) for table in [*tables, sidecar.get("weights", {}), *tables[2].values()]):
            raise TypeError
        written_for = sidecar["scores"]
    except FileNotFoundError as error:
        message = "missing; run snakemake, or framer score"
        raise UserError(message, path=error.filename, code="missing") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        message = f"not a sidecar of scores; delete it and {path.name}, and score again"
        raise UserError(message, path=sidecar_path, code="unreadable") from None
    if hashlib.sha256(content).hexdigest() != written_for:
        message = f"not the file that {sidecar_path.name} describes; delete both and score again"
        raise UserError(message, path=path, code="mismatch")
    return Scores(path, _values(path, content, sidecar["images"]), sidecar)


def _values(path: Path, content: bytes, images: Container[str]) -> dict[str, dict[str, float]]:
    """By metric and image stem; every mistake of a damaged file under a matching hash names its line."""
    again = "delete the file and score again"
    values: dict[str, dict[str, float]] = {}
    try:
        lines = csv.reader(StringIO(content.decode()))
        if tuple(next(lines, ())) != COLUMNS:
            raise UserError(f"needs the columns {','.join(COLUMNS)}; {again}", path=path, code="unreadable")
        for row in lines:
            if len(row) != len(COLUMNS):
                message = f"{len(row)} fields, not {len(COLUMNS)}; {again}"
                raise UserError(message, path=path, key=f"line {lines.line_num}", code="unreadable")
            image, metric, value = row
            if image != WHOLE_SET and image not in images:
                raise UserError(f"not an image of its sidecar; {again}", path=path, key=image, code="mismatch")
            if not math.isfinite(float(value)):
                message = f"{metric} is {value}, which no table can use; look at the image, then {again}"
                raise UserError(message, path=path, key=image, code="diverged")
            stem = WHOLE_SET if image == WHOLE_SET else Path(image).stem
            if stem in values.setdefault(metric, {}):
                raise UserError(f"{metric} is repeated; {again}", path=path, key=image, code="conflict")
            values[metric][stem] = float(value)
    except (ValueError, csv.Error) as error:
        raise UserError(f"not scores ({one_line(error)}); {again}", path=path, code="unreadable") from None
    return values


COLUMNS = ("image", "metric", "value")
WHOLE_SET = "*"
"""Stands for an image's name in the row of a metric of whole sets."""

METHODS = Path("results") / "published" / "scores"
"""Folder of the scores of methods that no study restores: METHOD/SET/PROTOCOL.csv."""


def is_score_file(path: Path) -> bool:
    """Whether a CSV or its sidecar was written by `write_scores`, going by the sidecar and the CSV's first line."""
    table = path.with_suffix(".csv")
    try:
        sidecar = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if table.exists():
            with table.open(encoding="utf-8", newline="") as file:
                if file.readline(100).rstrip("\n") != ",".join(COLUMNS):
                    return False
        return {"metrics", "unavailable", "images", "count", "scores"} <= sidecar.keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


@contextmanager
def claimed_scores(out: Path, inputs: Iterable[Path | None]) -> Iterator[None]:
    """Hold a score file and its sidecar for a block.

    Args:
        out: the CSV.
        inputs: what the command reads.

    Raises:
        UserError: as `framer.provenance.output.claimed_file`.
    """
    inputs = tuple(inputs)
    with (
        claimed_file(out, is_score_file, inputs),
        claimed_file(out.with_suffix(".json"), is_score_file, inputs),
    ):
        yield


def write_scores(out: Path, rows: Iterable[tuple[str, str, float]], sidecar: dict[str, Any]) -> None:
    """Write a score file and its sidecar. The CSV comes last: where it is, the scores are complete.

    Args:
        out: the CSV.
        rows: image, metric's short name, value.
        sidecar: metadata of the values; "count" and "scores", the CSV's SHA-256, are added.
    """
    content = csv_text(COLUMNS, ((image, metric, repr(value)) for image, metric, value in rows))
    about = {"count": len(sidecar["images"]), "scores": hashlib.sha256(content.encode()).hexdigest()}
    images = {"images": sidecar["images"]}
    write_json(out.with_suffix(".json"), {k: v for k, v in sidecar.items() if k != "images"} | about | images)
    write_text(out, content)
