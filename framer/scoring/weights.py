"""Which weights are on this machine. Scoring reads weights and never downloads any.

The folder `$FRAMER_WEIGHTS` (default: `weights` in the working directory) is laid out like TORCH_HOME, so that files
from pyiqa's and torchvision's own caches can be copied as they are:

    hub/pyiqa/FILE          pyiqa's checkpoints
    hub/checkpoints/FILE    torchvision's backbones
"""

import os
import re
from pathlib import Path

from framer.errors import UserError
from framer.provenance import sha256_file
from framer.scoring.protocols import Metric, Protocol

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")


def folder() -> Path:
    """The folder of metric weights."""
    return Path(os.environ.get("FRAMER_WEIGHTS") or "weights")


def missing(metric: Metric) -> list[str]:
    """The files that a metric needs and that are not there, relative to the folder of weights."""
    return [name for name in metric.weights if not (folder() / name).is_file()]


def unavailable(metric: Metric, *, has_hr: bool) -> str | None:
    """Why a metric cannot be computed here, as a table's footnote prints it; None if it can."""
    if metric.needs_hr and not has_hr:
        return f"{metric.title} compares with HR images, which this set does not have"
    if absent := missing(metric):
        return f"{metric.title} needs weights that are not on this machine: {', '.join(absent)}"
    return None


def state(protocol: str, metrics: list[str]) -> str:
    """Which of some metrics have their weights here, such as `psnr,ssim,niqe`: it changes when weights come or go.

    Raises:
        UserError: unknown protocol or metric.
    """
    return ",".join(metric.name for metric in Protocol.named(protocol).select(metrics) if not missing(metric))


def hashes(metrics: list[Metric]) -> dict[str, str]:
    """The sha256 of every file that some metrics need; all must be there.

    Publishers put the first eight digits of a checkpoint's sha256 into its name; those are checked.

    Raises:
        UserError: a file is not the one its name says.
    """
    found = {}
    for name in sorted({name for metric in metrics for name in metric.weights}):
        found[name] = sha256_file(folder() / name)
        stated = _HASH_IN_NAME.search(name)
        if stated and not found[name].startswith(stated[1]):
            raise UserError(
                f"{folder() / name}: its sha256 starts with {found[name][:8]}, its name says {stated[1]}; "
                "delete it and fetch it again"
            )
    return found
