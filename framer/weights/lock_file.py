"""The hash of a downloaded file whose publisher states none, kept beside it: later downloads must equal it."""

from pathlib import Path

from framer.provenance.files import write_text
from framer.provenance.hashing import sha256_file


def lock_file(path: Path) -> Path:
    """`FILE.sha256` beside a file of weights, one line as sha256sum writes it."""
    return path.with_name(f"{path.name}.sha256")


def locked(path: Path) -> str | None:
    """The SHA-256 that was accepted for a file; None without one."""
    file = lock_file(path)
    return file.read_text(encoding="utf-8").partition(" ")[0] if file.is_file() else None


def accept(path: Path) -> str:
    """Write a file's lock, and return the SHA-256 that it holds."""
    sha256 = sha256_file(path)
    write_text(lock_file(path), f"{sha256}  {path.name}\n")
    return sha256
