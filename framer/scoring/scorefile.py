"""The form of a score file: tidy rows `image,metric,value` in a CSV, and a JSON sidecar that says what they mean."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from framer.provenance import csv_text, write_json, write_text

COLUMNS = ("image", "metric", "value")
WHOLE_SET = "*"
"""Stands for an image's name in the row of a metric of whole sets."""

METHODS = Path("results") / "published" / "scores"
"""Where tables look for scores of methods that no study restores: METHOD/SET/PROTOCOL.csv."""


def write_scores(out: Path, rows: Iterable[tuple[str, str, float]], sidecar: dict[str, Any]) -> None:
    """Write a score file and its sidecar. The CSV comes last: where it is, the scores are complete.

    Args:
        out: the CSV.
        rows: image, metric's short name, value.
        sidecar: what the values mean; "count" and "scores", the CSV's sha256, are added.
    """
    content = csv_text(COLUMNS, ((image, metric, repr(value)) for image, metric, value in rows))
    about = {"count": len(sidecar["images"]), "scores": hashlib.sha256(content.encode()).hexdigest()}
    images = {"images": sidecar["images"]}
    write_json(out.with_suffix(".json"), {k: v for k, v in sidecar.items() if k != "images"} | about | images)
    write_text(out, content)
