"""Does what is installed here compute what it should? Each check has an answer that does not come from this package."""

import math
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from packaging.requirements import Requirement

from framer.doctor.finding import Finding
from framer.errors import UserError, one_line
from framer.scoring import psnr_ssim
from framer.scoring.folders import Task, score_folders, unavailable
from framer.scoring.import_scores import read_log
from framer.scoring.protocols import PROTOCOLS, Metric
from framer.weights.manifest import WeightsManifest
from framer.weights.store import verified

Image = NDArray[np.uint8]

KNOWN = {"psnr@rgb,c0": 25.149298, "ssim@y-yiq-full,c0": 0.868972, "niqe@live,y-yiq-full,c0": 4.998856}
"""Of `photograph` against its original, by pyiqa 0.1.16."""

TOLERANCES = {
    "psnr": (1e-4, 1e-4),
    "ssim": (1e-5, 1e-5),
    "niqe": (0.03, 3e-3),
    "lpips": (1e-3, 1e-3),
    "dists": (1e-3, 1e-3),
    "clipiqa": (5e-3, 1e-3),
    "musiq": (0.1, 0.1),
    # Published values are of random crops: only their mean can be met.
    "maniqa": (math.inf, 5e-3),
}
"""Largest difference to a published value allowed on one image, and on the mean."""


def examine(published: tuple[Path, Path, Path] | None = None) -> Iterator[Finding]:
    """Run all checks, each whatever the others find.

    Args:
        published: folders of SR and HR images and the log of scores that was published with them.
    """
    for name, check in CHECKS.items():
        yield from _guarded(name, check)
    for metric in {m.id: m for protocol in PROTOCOLS.values() for m in protocol.metrics}.values():
        if metric.weights:
            yield from _guarded(f"weights of {metric.id}", partial(_weights, metric))
    if published:
        yield from _guarded("published scores", partial(_published, *published))


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A check that cannot even run is a finding too, such as a torchvision that was built for another torch."""
    try:
        yield from check()
    except Exception as error:
        yield Finding(name, "WRONG", f"{type(error).__name__}: {one_line(error)}")


def _versions() -> Iterator[Finding]:
    """Every dependency of the harness is here in a version that `pyproject.toml` allows."""
    for text in metadata.requires("framer") or []:
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": "harness"}):
            found = metadata.version(needed.name)
            fits = needed.specifier.contains(found, prereleases=True)
            detail = found if fits else f"{found}, where {needed.specifier} is needed; install from the lock"
            yield Finding(f"version of {needed.name}", "ok" if fits else "WRONG", detail)


def _pair_of_torches() -> Iterator[Finding]:
    """torchvision's compiled operators load only into the torch that they were built for."""
    import torch
    import torchvision

    kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1], [0.0, 0, 1, 1]]), torch.tensor([1.0, 0.5]), 0.5)
    yield _compared("torchvision runs on torch", float(len(kept)), 1.0, 0)


def _closed_forms() -> Iterator[Finding]:
    """Pairs whose scores can be written down."""
    flat = np.full((32, 32, 3), 100, np.uint8)
    error = 10 * math.log10(1 / ((5 / 255) ** 2 + 1e-8))
    checker = np.tile(np.indices((32, 32)).sum(0)[..., None] % 2 * 255, 3).astype(np.uint8)
    yield _compared("PSNR of equal images, dB", psnr_ssim.psnr(flat, flat), 80, 1e-9)
    yield _compared("PSNR of a constant error of 5, dB", psnr_ssim.psnr(flat + np.uint8(5), flat), error, 1e-9)
    yield _compared("SSIM of equal images", psnr_ssim.ssim(checker, checker), 1, 1e-12)
    yield _compared("SSIM of a checkerboard and its negative", psnr_ssim.ssim(255 - checker, checker), 0, 1e-12)


def _definitions_of_y() -> Iterator[Finding]:
    """Limited-range Y spans 219 steps, full-range Y 255: on grey images PSNR differs by exactly that, in dB."""
    low, high = photograph()
    grey = [np.repeat(image[..., 1:2], 3, axis=2) for image in (low, high)]
    limited, full = (psnr_ssim.psnr(*grey, test_y_channel=True, color_space=space) for space in ("ycbcr", "yiq"))
    expected = 20 * math.log10(255 / 219)
    yield _compared("PSNR on limited-range Y less full-range Y, dB", limited - full, expected, 1e-4)


def _against_pyiqa() -> Iterator[Finding]:
    """PSNR and SSIM as computed here, and as by pyiqa."""
    import pyiqa
    import torch

    low, high = photograph()
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (low, high)]
    for metric in {m.id: m for p in PROTOCOLS.values() for m in p.metrics if m.pyiqa in psnr_ssim.FUNCTIONS}.values():
        theirs = pyiqa.create_metric(metric.pyiqa, device=torch.device("cpu"), **metric.options)
        ours = psnr_ssim.FUNCTIONS[metric.pyiqa](low, high, **metric.options)
        yield _compared(f"{metric.id} against pyiqa", ours, float(theirs(*tensors)), 2e-5)


def _known_values() -> Iterator[Finding]:
    """Values of a photograph that every installation has."""
    low, high = photograph()
    for metric in PROTOCOLS["framer"].select(["psnr", "ssim", "niqe"]):
        name = f"{metric.id} of a known photograph"
        if metric.pyiqa in psnr_ssim.FUNCTIONS:
            value = psnr_ssim.FUNCTIONS[metric.pyiqa](low, high, **metric.options)
        elif reason := unavailable(metric, has_hr=True):
            yield Finding(name, "n/a", reason)
            continue
        else:
            from framer.scoring.pyiqa_metrics import Network, as_tensor

            [value] = Network(metric).values(as_tensor([low]), None)
        yield _compared(name, value, KNOWN[metric.id], 1e-3 if metric.name == "niqe" else 2e-6)


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "versions": _versions,
    "torch and torchvision": _pair_of_torches,
    "closed forms": _closed_forms,
    "definitions of Y": _definitions_of_y,
    "pyiqa": _against_pyiqa,
    "known values": _known_values,
}


def photograph() -> tuple[Image, Image]:
    """A photograph of scikit-image with every second pixel in place of four, and itself; (512, 512, 3) each."""
    import skimage.data

    high = np.asarray(skimage.data.astronaut())
    return high[::2, ::2].repeat(2, axis=0).repeat(2, axis=1), high


def _weights(metric: Metric) -> Iterator[Finding]:
    check = f"weights of {metric.id}"
    if reason := unavailable(metric, has_hr=True):
        yield Finding(check, "n/a", reason)
        return
    try:
        found = verified(metric.weights)
    except UserError as error:
        yield Finding(check, "WRONG", str(error))
        return
    complete = all(file.sha256 for name in metric.weights for file in WeightsManifest.load(name).files)
    short = ", ".join(f"{Path(name).name} {sha256[:12]}" for name, sha256 in found.items())
    yield Finding(check, "ok", short + ("" if complete else " (its publisher states no hash)"))


def _published(sr: Path, hr: Path, log: Path) -> Iterator[Finding]:
    """Score images that others scored, and compare."""
    theirs = read_log(log)
    names = {name for _, name in theirs}
    metrics = [m for m in PROTOCOLS["osediff"].metrics if m.name in names and m.name in TOLERANCES]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scores.csv"
        [summary] = score_folders([Task(sr, hr, {"osediff": out})], [m.name for m in metrics])
        ours = read_log(out) if summary.means else {}
    for metric in metrics:
        check = f"{metric.id} against {log.name}"
        if metric.name in summary.unavailable:
            yield Finding(check, "n/a", summary.unavailable[metric.name])
            continue
        pairs = [(value, theirs.get(key)) for key, value in ours.items() if key[1] == metric.name]
        errors = [value - published for value, published in pairs if published is not None]
        if not errors:
            yield Finding(check, "WRONG", "no image of the folder is in the log")
            continue
        largest, mean = max(map(abs, errors)), abs(math.fsum(errors) / len(errors))
        fits = largest <= TOLERANCES[metric.name][0] and mean <= TOLERANCES[metric.name][1]
        detail = f"{len(errors)} images, largest difference {largest:.2g}, of the mean {mean:.2g}"
        yield Finding(check, "ok" if fits else "WRONG", detail)


def _compared(check: str, found: float, expected: float, tolerance: float) -> Finding:
    if abs(found - expected) <= tolerance:
        return Finding(check, "ok", f"{found:.6f}")
    return Finding(check, "WRONG", f"{found:.6f}, not {expected:.6f}")
