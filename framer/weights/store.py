"""The folder of weights, and what is known of the bytes of the files in it.

It is `$FRAMER_WEIGHTS`, or `weights` in the working directory, for everything that reads or writes weights. It is laid
out like TORCH_HOME, so that files from pyiqa's and torchvision's own caches can be copied as they are:

    OWNER--NAME/            a published pipeline
    hub/pyiqa/FILE          pyiqa's checkpoints
    hub/checkpoints/FILE    torchvision's backbones
    hub/clip/FILE           CLIP
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from framer.errors import UserError
from framer.provenance.files import write_json
from framer.provenance.hashing import sha256_file

PUBLISHED = {
    "hub/clip/RN50.pt": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "hub/clip/ViT-B-32.pt": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    "hub/pyiqa/MANIQA_PIPAL-ae6d356b.pth": "ae6d356bcd583ae3c1ca81d84817cf96d662073896c7e40fceddb305ddc2f155",
}
"""The sha256 of files whose publishers state it in full; others put its first digits into a file's name, or nothing."""

CACHE = "hub/sha256.json"
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.pth$")


def folder() -> Path:
    """The folder of weights."""
    return Path(os.environ.get("FRAMER_WEIGHTS") or "weights")


def pipeline(name: str) -> Path:
    """The folder of a published pipeline, OWNER/NAME."""
    return folder() / name.replace("/", "--")


def missing(names: Iterable[str]) -> list[str]:
    """Those of some files, relative to the folder of weights, that are not there."""
    return [name for name in names if not (folder() / name).is_file()]


def stated(name: str) -> str:
    """The first digits of a file's sha256, or all, as its publisher states them; empty where nothing is stated."""
    in_name = _HASH_IN_NAME.search(name)
    return PUBLISHED.get(name) or (in_name[1] if in_name else "")


def verified(names: Iterable[str]) -> dict[str, str]:
    """The sha256 of some files, all of which must be there.

    Raises:
        UserError: a file is not the one that was published under its name.
    """
    found = hashes(names)
    for name, sha256 in found.items():
        if not sha256.startswith(stated(name)):
            raise UserError(
                f"{folder() / name}: its sha256 starts with {sha256[:8]}, the published file's with "
                f"{stated(name)[:8]}; delete it and fetch it again"
            )
    return found


def hashes(names: Iterable[str]) -> dict[str, str]:
    """The sha256 of some files, whatever was published.

    A gigabyte takes seconds to hash, and the workflow asks in every process that it starts: hashes are kept beside the
    weights for as long as a file's size and time of change stay.
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
