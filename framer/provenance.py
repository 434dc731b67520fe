"""Where every result comes from: hashes, seeds, cards, atomic writes. The ground floor: standard library only.

A *card* is a small JSON file that stands for a large payload beside it (weights, a folder of images): it lists the
payload's sha256, the settings that made it and the cards it was made from. What was made and not fetched also names
the code that made it (`framer.fingerprint`) and the lock of its environment. A card holds no time, host or absolute
path, so that the same work gives the same bytes, and is small enough for Snakemake to compare by content: a job runs
again when a card changed, not when a file was touched. What was measured on the way lies in `run.json` beside it.
"""

import csv
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any

from framer.errors import UserError

CARD = "card.json"
MEASURED = "run.json"
"""Beside a card: devices and time. It differs between two runs that are the same, so no card, hash or id knows it."""
LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"


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


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed versions of some distributions, as a card or a sidecar lists them."""
    return {name: metadata.version(name) for name in sorted(packages)}


@cache
def lock() -> str:
    """The sha256 of `requirements.lock`, of which the environment is made; without one, of all that is installed."""
    if LOCK.is_file():
        return sha256_file(LOCK)
    installed = sorted(f"{found.name}=={found.version}" for found in metadata.distributions())
    return hashlib.sha256("\n".join(installed).encode()).hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes files private; a result is as readable as any other file of the user's.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def left_behind(path: Path) -> list[Path]:
    """The temporary files of processes that were killed in `atomic(path)`."""
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*{glob.escape(path.suffix)}"))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV with Unix line ends, quoted where a value needs it; None is an empty value."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically, in the value's own key order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_card(folder: Path, kind: str, payload: Iterable[str], **facts: Any) -> None:
    """Write `folder/card.json`, last of all: a folder with a card is complete.

    Args:
        folder: where the payload lies.
        kind: what the payload is: "images", "weights", "base", "encoded" (pairs and prompts), "run" or "analysis".
        payload: file names in `folder`, which are hashed here.
        facts: settings, upstream digests, versions: JSON-able, and equal on every machine that does the same work.
    """
    card = {"kind": kind, **facts, "payload": {name: sha256_file(folder / name) for name in payload}}
    write_json(folder / CARD, card)


def read_card(folder: Path, kind: str) -> dict[str, Any]:
    """Read and check `folder/card.json`.

    Raises:
        UserError: the card is missing, unreadable or of another kind.
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        found = card["kind"]
    except FileNotFoundError:
        raise UserError(f"{path}: not there; {folder} is incomplete or is not made by framer") from None
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: not a card; delete {folder} and make it again") from None
    if found != kind:
        raise UserError(f"{path}: this is a card of kind {found!r}, where {kind!r} is needed")
    return card


def verify_payload(folder: Path, card: dict[str, Any]) -> None:
    """Check that the files a card lists are there and are the ones it was written for.

    Raises:
        UserError: a file is missing or has other bytes.
    """
    for name, expected in card["payload"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: missing, though {folder / CARD} lists it; delete {folder} and make it again")
        if sha256_file(path) != expected:
            raise UserError(f"{path}: its sha256 is not the one in {folder / CARD}; delete {folder} and make it again")
