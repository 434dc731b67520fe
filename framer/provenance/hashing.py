"""Hashes, short digests of JSON-able values, and seeds derived from them."""

import hashlib
import json
from pathlib import Path
from typing import Any


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, whatever their key order."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Twelve hex digits that name a JSON-able value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]


def derive_seed(study_seed: int, *axes: str | int) -> int:
    """A seed in [0, 2**63) for one source of randomness, named by its axes.

    Two arms that name the same axes share their random numbers (common random numbers), which makes their comparison
    a paired one; an axis more makes a stream independent.
    """
    text = canonical([study_seed, *axes])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def git_blob_id(path: Path) -> str:
    """Git's id of a file, hex: the SHA-1 of a header with its length and of its bytes."""
    found = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
