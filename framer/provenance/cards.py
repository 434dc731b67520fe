"""Cards: what made a payload, and its hashes.

A *card* is a small JSON file that stands for a large payload beside it (weights, a folder of images): it lists the
payload's sha256, the settings that made it and the cards it was made from. What was made and not fetched also names
the code that made it (`framer.provenance.code`) and the lock of its environment. A card holds no time, host or absolute
path, so that the same work gives the same bytes, and is small enough for Snakemake to compare by content: a job runs
again when a card changed, not when a file was touched. What was measured on the way lies in `run.json` beside it.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from framer.errors import UserError
from framer.provenance.files import write_json
from framer.provenance.hashing import sha256_file

CARD = "card.json"
MEASURED = "run.json"
"""Beside a card: devices and time. It differs between two runs that are the same, so no card, hash or id knows it."""
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


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
        UserError: the card is missing, unreadable, of another kind, or has no valid payload.
    """
    path = folder / CARD
    again = f"repeat the command that made {folder}"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"missing; {folder} is incomplete or was not made by framer", path=path, code="missing"
        ) from None
    except (ValueError, RecursionError):
        raise UserError(f"not valid JSON; {again}", path=path, code="unreadable") from None
    found = card.get("kind") if isinstance(card, dict) else None
    if not isinstance(found, str):
        raise UserError(f"not a card; {again}", path=path, key="kind", code="unreadable")
    if found != kind:
        raise UserError(f"is {found!r}; {kind!r} is needed", path=path, key="kind", code="mismatch")
    payload = card.get("payload")
    if not (isinstance(payload, dict) and payload and all(isinstance(value, str) for value in payload.values())):
        raise UserError(f"not a list of files with their sha256; {again}", path=path, key="payload", code="unreadable")
    # Files of metrics are where their library looks for them: beside the folder of their card.
    up = 1 if kind == "weights" else 0
    for name in payload:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts[up:]:
            raise UserError(f"{name!r} is outside {folder}; {again}", path=path, key="payload", code="unreadable")
    return card


def verify_payload(folder: Path, card: dict[str, Any]) -> None:
    """Check that the files a card lists are there and are the ones it was written for.

    Raises:
        UserError: a file is missing or has other bytes.
    """
    for name, expected in card["payload"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(
                f"missing, although {folder / CARD} lists it; repeat the command that made it",
                path=path,
                code="missing",
            )
        if sha256_file(path) != expected:
            raise UserError(
                f"its sha256 is not the one in {folder / CARD}; repeat the command that made it",
                path=path,
                code="mismatch",
            )
