"""Per-image scores of one folder of images under one protocol: a tidy CSV and a sidecar that says what it means."""

import csv
import hashlib
import math
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from framer.data.images import image_size, list_images, read_rgb
from framer.errors import UserError
from framer.provenance import sha256_file, versions, write_json, write_text
from framer.scoring import fidelity, weights
from framer.scoring.protocols import Metric, Protocol

if TYPE_CHECKING:
    from framer.scoring.perceptual import Scorer

Image = NDArray[np.uint8]
Pair = tuple[Path, Path | None]
COLUMNS = ("image", "metric", "value")


def score(
    sr: Path,
    hr: Path | None,
    metrics: list[str],
    protocol: str,
    out: Path,
    threads: int = 1,
    progress: bool = True,
) -> None:
    """Score a folder of restored images.

    Writes `out` with rows `image,metric,value`: the SR file's name, the metric's short name and the shortest decimal
    that reads back as the same float, sorted by image and then in the protocol's order. The sidecar `out` with suffix
    `.json` holds the metrics' exact ids, what could not be computed and why, and the hashes of everything that went in.
    Both are byte-identical between runs on one kind of device.

    Args:
        sr: folder of restored images.
        hr: folder of HR images with the same stems and sizes; None for a set that has none.
        metrics: short names, a selection of the protocol's.
        protocol: what the names mean; a key of `framer.scoring.protocols.PROTOCOLS`.
        out: the CSV.
        threads: CPU threads of the metric networks.
        progress: show a bar on stderr.

    Raises:
        UserError: an unknown protocol or metric, images that do not pair up, that differ in size, that are too small
            for a metric or unreadable, weights that are not what their name says, or a value that is not finite.
            Nothing is written then.
    """
    if out.suffix != ".csv":
        raise UserError(f"{out}: scores go to a .csv file; its sidecar takes the same name with .json")
    selected = Protocol.named(protocol).select(metrics)
    pairs = pair_up(sr, hr)
    reasons = {metric.name: weights.unavailable(metric, has_hr=hr is not None) for metric in selected}
    computed = [metric for metric in selected if reasons[metric.name] is None]
    _check_sizes(pairs, computed)
    weight_hashes = weights.hashes(computed)

    scorer, packages = _scorer(computed, threads)
    rows, images = [], {}
    for sr_path, hr_path in tqdm(pairs, desc=f"score {sr.name}", unit="image", disable=not progress):
        values = scorer(read_rgb(sr_path), read_rgb(hr_path) if hr_path else None)
        for metric, value in zip(computed, values, strict=True):
            if not math.isfinite(value):
                raise UserError(f"{sr_path}: {metric.id} is {value}; look at the image, it may be flat or broken")
            rows.append((sr_path.name, metric.name, repr(value)))
        images[sr_path.name] = {"sr": sha256_file(sr_path)} | ({"hr": sha256_file(hr_path)} if hr_path else {})

    table = StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows])
    sidecar = {
        "protocol": protocol,
        "metrics": {metric.name: metric.id for metric in selected},
        "unavailable": {name: reason for name, reason in reasons.items() if reason},
        "count": len(pairs),
        "scores": hashlib.sha256(table.getvalue().encode()).hexdigest(),
        "versions": versions(packages),
        "weights": weight_hashes,
        "images": images,
    }
    write_json(out.with_suffix(".json"), sidecar)
    write_text(out, table.getvalue())


def pair_up(sr: Path, hr: Path | None) -> list[Pair]:
    """SR and HR files of equal stem, sorted by stem.

    Raises:
        UserError: a folder is missing or empty, or a stem is in one folder only.
    """
    restored = list_images(sr)
    if hr is None:
        return [(path, None) for path in restored.values()]
    reference = list_images(hr)
    for folder, stems in ((sr, reference.keys() - restored.keys()), (hr, restored.keys() - reference.keys())):
        if stems:
            other = hr if folder == sr else sr
            raise UserError(f"{folder}: no image for {_some(sorted(stems))}, which {other} has; pairs go by file name")
    return [(path, reference[stem]) for stem, path in restored.items()]


def _check_sizes(pairs: list[Pair], metrics: list[Metric]) -> None:
    """From the headers alone, so that a set of thousands fails in its first second."""
    different = []
    for sr, hr in pairs:
        size = image_size(sr)
        if hr and image_size(hr) != size:
            different.append(f"{sr.name} ({'x'.join(map(str, size))}, HR {'x'.join(map(str, image_size(hr)))})")
        for metric in metrics:
            if min(size) < metric.min_side:
                raise UserError(
                    f"{sr}: {size[0]}x{size[1]} pixels; {metric.name} needs at least {metric.min_side} each way"
                )
    if different:
        raise UserError(f"{pairs[0][0].parent}: sizes differ from HR: {_some(different)}; restore to exactly x4")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _scorer(metrics: list[Metric], threads: int) -> tuple[Callable[[Image, Image | None], list[float]], list[str]]:
    """A function that scores one decoded pair with all metrics, and the packages that its values depend on.

    torch and pyiqa take seconds to import, so they are only where a metric has a network.
    """
    packages = ["framer", "numpy", "pillow"]
    networks: dict[str, Scorer] = {}
    if any(metric.pyiqa not in fidelity.FUNCTIONS for metric in metrics):
        import torch

        from framer.scoring import perceptual

        torch.set_num_threads(threads)
        networks = {m.name: perceptual.create(m) for m in metrics if m.pyiqa not in fidelity.FUNCTIONS}
        packages += perceptual.PACKAGES

    def scorer(sr: Image, hr: Image | None) -> list[float]:
        tensors = (perceptual.as_tensor(sr), None if hr is None else perceptual.as_tensor(hr)) if networks else None
        values = []
        for metric in metrics:
            if tensors and metric.name in networks:
                values.append(networks[metric.name](*tensors))
            else:
                assert hr is not None  # a metric without a network is full-reference
                values.append(fidelity.FUNCTIONS[metric.pyiqa](sr, hr, **metric.options))
        return values

    return scorer, packages
