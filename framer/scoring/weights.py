"""Which weights are on this machine, and what is in them. Scoring reads weights and never downloads any.

The folder `$FRAMER_WEIGHTS` (default: `weights` in the working directory) is laid out like TORCH_HOME, so that files
from pyiqa's and torchvision's own caches can be copied as they are:

    hub/pyiqa/FILE          pyiqa's checkpoints
    hub/checkpoints/FILE    torchvision's backbones
    hub/clip/FILE           CLIP
"""

import json
import os
import re
from pathlib import Path

from framer.errors import UserError
from framer.provenance import digest, sha256_file, write_json
from framer.scoring.protocols import Metric, Protocol

PUBLISHED = {
    "hub/clip/RN50.pt": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "hub/clip/ViT-B-32.pt": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "hub/pyiqa/MANIQA_PIPAL-ae6d356b.pth": "ae6d356bcd583ae3c1ca81d84817cf96d662073896c7e40fceddb305ddc2f155",
}
"""The sha256 of files whose publishers state it in full; others put its first digits into a file's name, or nothing."""

CACHE = "hub/sha256.json"
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
    """What some metrics would be computed with, such as `psnr@rgb,c0 musiq@koniq=1f0e6c2a9b3d`.

    Names the exact id of each metric whose weights are here, and a digest of their content: it changes when a
    definition does, when weights come or go and when their bytes change.

    Raises:
        UserError: unknown protocol or metric.
    """
    said = []
    for metric in Protocol.named(protocol).select(metrics):
        if not missing(metric):
            content = digest(_sha256(metric.weights)) if metric.weights else ""
            said.append(metric.id + (f"={content}" if content else ""))
    return " ".join(said)


def hashes(metrics: list[Metric]) -> dict[str, str]:
    """The sha256 of every file that some metrics need; all must be there.

    Raises:
        UserError: a file is not the one that was published under its name.
    """
    found = _sha256(sorted({name for metric in metrics for name in metric.weights}))
    for name, sha256 in found.items():
        if not sha256.startswith(stated(name)):
            raise UserError(
                f"{folder() / name}: its sha256 starts with {sha256[:8]}, the published file's with "
                f"{stated(name)[:8]}; delete it and fetch it again"
            )
    return found


def stated(name: str) -> str:
    """The first digits of a file's sha256, or all, as its publisher states them; empty where nothing is stated."""
    in_name = _HASH_IN_NAME.search(name)
    return PUBLISHED.get(name) or (in_name[1] if in_name else "")


def _sha256(names: list[str] | tuple[str, ...]) -> dict[str, str]:
    """The sha256 of some files. A gigabyte takes seconds to hash, and the workflow asks in every process that it
    starts: hashes are kept beside the weights for as long as a file's size and time of change stay.
    """
    path = folder() / CACHE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    kept = kept if isinstance(kept, dict) else {}
    found, new = {}, False
    for name in names:
        status = (folder() / name).stat()
        key = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        entry = kept.get(name)
        if not (isinstance(entry, dict) and entry.get("status") == key):
            entry = {"status": key, "sha256": sha256_file(folder() / name)}
            kept[name], new = entry, True
        found[name] = entry["sha256"]
    if new and os.access(path.parent, os.W_OK):
        write_json(path, dict(sorted(kept.items())))
    return found
