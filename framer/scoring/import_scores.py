"""Per-image scores that others publish, as score files: their numbers can stand in the tables, each with its source."""

import csv
import math
import re
from io import StringIO
from pathlib import Path

from framer.errors import UserError
from framer.provenance.hashing import sha256_file
from framer.scoring.protocols import Protocol
from framer.scoring.score_file import METHODS, WHOLE_SET, write_scores

Values = dict[tuple[str, str], float]
"""By image and metric; `*` stands for the whole set."""

_IMAGE_LINE = re.compile(r"INFO: (?P<image>[^|]+?) \| (?P<scores>[A-Z]+: [^|]+?)(?: \| .*)?$")
_AVERAGES = re.compile(r"^(?P<scores>[A-Z]+: [^|]+?)(?: \| FID: (?P<fid>[^ |]+))?(?: \| .*)?$")


def import_scores(
    log: Path,
    method: str,
    set_id: str,
    protocol: str,
    origin: dict[str, str],
    metrics: list[str] | None = None,
    definitions: dict[str, str] | None = None,
    folder: Path = METHODS,
) -> Path:
    """Write the scores of a published log as `folder/METHOD/SET/PROTOCOL.csv` with a sidecar.

    Args:
        log: OSEDiff's log format; or a CSV, either with columns image, metric and value or with one column a metric.
        method: short name of the method, lower case.
        set_id: id of the test set.
        protocol: under which the publisher computed them.
        origin: "label", as tables name the method, and "source", where the file is from.
        metrics: which to take; None for all, each of which the protocol must know.
        definitions: exact ids of metrics that were computed by another definition than the protocol's. They are kept,
            and tables show them as `n/a` with that reason.
        folder: of all methods.

    Returns:
        The score file.

    Raises:
        UserError: the file is neither, a metric is unknown, a value is missing, twice there or no number, or the log's
            own means are not those of its values. Nothing is written then.
    """
    for what, name in (("--method", method), ("--set", set_id)):
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise UserError(f"{what} {name!r}: letters a to z, digits, - and _ only; it names a folder")
    named = Protocol.named(protocol)
    values = read_log(log)
    found = list(dict.fromkeys(metric for _, metric in values))
    selected = named.select(found if metrics is None else metrics)
    ids = {metric.name: metric.id for metric in selected}
    for name, other in (definitions or {}).items():
        if name not in ids:
            raise UserError(f"--definition {name}={other}: {name} is not among the scores, which are {', '.join(ids)}")
        ids[name] = other
    images = sorted({image for image, _ in values if image != WHOLE_SET})
    _one_stem_each(log, images)
    rows = []
    for image in [*images, WHOLE_SET]:
        for metric in selected:
            if metric.of_set == (image == WHOLE_SET):
                if (image, metric.name) not in values:
                    raise UserError(f"{log}: no {metric.name} of {'the set' if image == WHOLE_SET else image}")
                rows.append((image, metric.name, values[image, metric.name]))
    out = folder / method / set_id / f"{named.name}.csv"
    sidecar = {
        "protocol": named.name,
        "metrics": ids,
        "unavailable": {},
        "versions": {},
        "weights": {},
        **origin,
        "imported": {"file": log.name, "sha256": sha256_file(log)},
        "images": {image: {} for image in images},
    }
    write_scores(out, rows, sidecar)
    return out


def read_log(log: Path) -> Values:
    """The values of a published file, under the metrics' names in lower case.

    Raises:
        UserError: see `import_scores`.
    """
    try:
        text = log.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{log}: cannot be read as text ({type(error).__name__})") from None
    values = _from_osediff(log, text) if " | PSNR: " in text else _from_csv(log, text)
    if not values:
        raise UserError(f"{log}: holds no scores; a CSV with columns image,metric,value or OSEDiff's log is needed")
    return values


def _from_osediff(log: Path, text: str) -> Values:
    """Lines `DATE - INFO: FOLDER/IMAGE | PSNR: 25.79; SSIM: 0.85; ... | Runtime: ...`, the means and FID."""
    values: Values = {}
    means: Values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _IMAGE_LINE.search(line):
            image = match["image"].rpartition("/")[2]
            _add(values, image, match["scores"], f"{log}: line {number}")
        elif match := _AVERAGES.match(line):
            _add(means, WHOLE_SET, match["scores"], f"{log}: line {number}")
            if match["fid"]:
                values[WHOLE_SET, "fid"] = _number(match["fid"], f"{log}: line {number}")
    for (_, metric), printed in means.items():
        column = [value for (image, name), value in values.items() if name == metric and image != WHOLE_SET]
        if not column or abs(math.fsum(column) / len(column) - printed) > 1e-4:
            raise UserError(
                f"{log}: its mean {metric}, {printed}, is not that of its {len(column)} images; it is cut short"
            )
    return values


def _add(values: Values, image: str, scores: str, where: str) -> None:
    for part in scores.split(";"):
        name, _, number = part.strip().partition(": ")
        _put(values, image, name.lower(), number, where)


def _from_csv(log: Path, text: str) -> Values:
    lines = csv.reader(StringIO(text))
    columns = [name.strip().lower() for name in next(lines, [])]
    if columns[:1] != ["image"]:
        raise UserError(f"{log}: neither OSEDiff's log nor a CSV whose first column is image")
    for name in columns:
        if columns.count(name) > 1:
            raise UserError(f"{log}: line 1: column {name!r} is there twice; leave one of them out")
    values: Values = {}
    for row in lines:
        where = f"{log}: line {lines.line_num}"
        if not row:
            continue
        if len(row) != len(columns):
            raise UserError(f"{where}: not as many fields as the first line has")
        if columns == ["image", "metric", "value"]:
            _put(values, row[0], row[1].strip().lower(), row[2], where)
        else:
            for name, number in zip(columns[1:], row[1:], strict=True):
                _put(values, row[0], name, number, where)
    return values


def _one_stem_each(log: Path, images: list[str]) -> None:
    """Everything here pairs images by stem: two with the same one are one image, or one of them is not of the set."""
    seen: dict[str, str] = {}
    for image in images:
        other = seen.setdefault(Path(image).stem, image)
        if other != image:
            raise UserError(f"{log}: {other} and {image} have one stem; images pair by it, so leave one of them out")


def _put(values: Values, image: str, metric: str, text: str, where: str) -> None:
    if (image, metric) in values:
        raise UserError(f"{where}: {metric} of {image} is there twice")
    values[image, metric] = _number(text, where)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {text!r} is no number")
    return value
