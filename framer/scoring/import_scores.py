"""Import of published per-image scores as score files, so that tables show them with their source."""

import csv
import math
import re
from io import StringIO
from pathlib import Path

from framer.errors import UserError, one_line, unknown
from framer.provenance.hashing import sha256_file
from framer.scoring.protocols import Protocol
from framer.scoring.score_file import METHODS, WHOLE_SET, claimed_scores, write_scores

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
        log: OSEDiff's log format; or a CSV, either with columns image, metric and value or with one column per metric.
        method: short name of the method, lower case.
        set_id: id of the test set.
        protocol: the publisher's protocol.
        origin: "label", the method's name in tables, and "source", the origin of the file.
        metrics: names of the metrics to import; None for all, each of which the protocol must define.
        definitions: exact ids of metrics that were computed by another definition than the protocol's. They are kept,
            and tables show them as `n/a` with that reason.
        folder: folder of all methods.

    Returns:
        The score file.

    Raises:
        UserError: the file has another format, a metric is unknown, a value is missing, repeated or not a number, or
            the log's own means differ from those of its values; a file in its place that holds no scores, or that
            another process writes. Nothing is written then.
    """
    for option, name in (("--method", method), ("--set", set_id)):
        if not re.fullmatch(r"[a-z0-9_-]+", name):
            raise UserError(f"{name!r} names a folder; use letters a to z, digits, - and _ only", key=option)
    named = Protocol.named(protocol)
    values = read_log(log)
    found = list(dict.fromkeys(metric for _, metric in values))
    if metrics is None and (others := [name for name in found if name not in {m.name for m in named.metrics}]):
        message = unknown("metric", others[0], [metric.name for metric in named.metrics])
        raise UserError(f"{message}; name with --metrics what to import", path=log, code="unknown")
    selected = named.select(found if metrics is None else metrics)
    ids = {metric.name: metric.id for metric in selected}
    for name, other in (definitions or {}).items():
        if name not in ids:
            message = f"{name}={other}: {name} is not among the scores, which are {', '.join(ids)}"
            raise UserError(message, key="--definition", code="unknown")
        ids[name] = other
    images = sorted({image for image, _ in values if image != WHOLE_SET})
    _one_stem_each(log, images)
    rows = []
    for image in [*images, WHOLE_SET]:
        for metric in selected:
            if metric.of_set == (image == WHOLE_SET):
                if (image, metric.name) not in values:
                    message = f"no {metric.name} of {'the set' if image == WHOLE_SET else image}"
                    raise UserError(message, path=log, code="missing")
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
    with claimed_scores(out, (log,)):
        write_scores(out, rows, sidecar)
    return out


def read_log(log: Path) -> Values:
    """Read the values of a published file, under the metrics' names in lower case.

    Raises:
        UserError: see `import_scores`.
    """
    try:
        text = log.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read as text ({type(error).__name__})"
        raise UserError(message, path=log, code="unreadable") from None
    try:
        values = _from_osediff(log, text) if " | PSNR: " in text else _from_csv(log, text)
    except csv.Error as error:
        raise UserError(f"not a CSV ({one_line(error)})", path=log, code="unreadable") from None
    if not values:
        message = "holds no scores; a CSV with columns image,metric,value or OSEDiff's log is needed"
        raise UserError(message, path=log, code="unreadable")
    return values


def _from_osediff(log: Path, text: str) -> Values:
    """Lines `DATE - INFO: FOLDER/IMAGE | PSNR: 25.79; SSIM: 0.85; ... | Runtime: ...`, the means and FID."""
    values: Values = {}
    means: Values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _IMAGE_LINE.search(line):
            image = match["image"].rpartition("/")[2]
            _add(values, image, match["scores"], log, number)
        elif match := _AVERAGES.match(line):
            _add(means, WHOLE_SET, match["scores"], log, number)
            if match["fid"]:
                values[WHOLE_SET, "fid"] = _number(match["fid"], log, number)
    for (_, metric), printed in means.items():
        column = [value for (image, name), value in values.items() if name == metric and image != WHOLE_SET]
        if not column or abs(math.fsum(column) / len(column) - printed) > 1e-4:
            message = f"its mean {metric}, {printed}, is not that of its {len(column)} images; it is incomplete"
            raise UserError(message, path=log, code="mismatch")
    return values


def _add(values: Values, image: str, scores: str, log: Path, line: int) -> None:
    for part in scores.split(";"):
        name, _, number = part.strip().partition(": ")
        _put(values, image, name.lower(), number, log, line)


def _from_csv(log: Path, text: str) -> Values:
    lines = csv.reader(StringIO(text))
    columns = [name.strip().lower() for name in next(lines, [])]
    if columns[:1] != ["image"]:
        raise UserError("neither OSEDiff's log nor a CSV whose first column is image", path=log, code="unreadable")
    for name in columns:
        if columns.count(name) > 1:
            raise UserError(f"line 1: column {name!r} is repeated; remove one of them", path=log, code="conflict")
    values: Values = {}
    for row in lines:
        if not row:
            continue
        if len(row) != len(columns):
            message = f"line {lines.line_num}: not as many fields as the first line has"
            raise UserError(message, path=log, code="unreadable")
        if columns == ["image", "metric", "value"]:
            _put(values, row[0], row[1].strip().lower(), row[2], log, lines.line_num)
        else:
            for name, number in zip(columns[1:], row[1:], strict=True):
                _put(values, row[0], name, number, log, lines.line_num)
    return values


def _one_stem_each(log: Path, images: list[str]) -> None:
    """Refuse two images with one stem, by which everything here pairs images."""
    seen: dict[str, str] = {}
    for image in images:
        other = seen.setdefault(Path(image).stem, image)
        if other != image:
            message = f"{other} and {image} have one stem; images pair by it: remove one of them"
            raise UserError(message, path=log, code="conflict")


def _put(values: Values, image: str, metric: str, text: str, log: Path, line: int) -> None:
    if (image, metric) in values:
        message = f"line {line}: {metric} of {image} is repeated; remove one of them"
        raise UserError(message, path=log, code="conflict")
    values[image, metric] = _number(text, log, line)


def _number(text: str, log: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"line {line}: {text!r} is not a finite number", path=log)
    return value
