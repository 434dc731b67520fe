"""Remote files: their addresses, sizes and hashes.

An address is `https://...`, or `hf://[datasets/]OWNER/NAME[@REVISION]/PATH` as huggingface_hub writes it.
"""

import re
import reprlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from framer.config_file import Matching, Strict
from framer.errors import UserError
from framer.provenance.hashing import sha256_file

_HF = re.compile(r"hf://(datasets/)?(?!datasets/)([\w.-]+/[\w.-]+?)(?:@([\w.-]+))?(?:/(.+))?")
_REPO_WORD = re.compile(r"(?!.*(--|\.\.))(?!.*\.git$)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)
LONGEST_REPO = 96
"""The limit of the hub's client for OWNER/NAME."""


@dataclass(frozen=True)
class HubFile:
    """One file, or with an empty path a whole repository, on the Hugging Face hub."""

    repo: str
    repo_type: str
    revision: str
    path: str

    @classmethod
    def parse(cls, address: str) -> "HubFile":
        """Parse an `hf://` address; the default revision is the branch `main`.

        Raises:
            ValueError: not such an address.
        """
        match = _HF.fullmatch(address)
        if not match:
            raise ValueError(f"{address!r} is not hf://[datasets/]OWNER/NAME[@REVISION]/PATH")
        datasets, repo, revision, path = match.groups()
        if len(repo) > LONGEST_REPO or not all(_REPO_WORD.fullmatch(word) for word in repo.split("/")):
            message = f"at most {LONGEST_REPO} letters, digits and single - _ . between them"
            raise ValueError(f"{reprlib.repr(repo)} is not the name of a repository: {message}")
        if path and {"", ".", ".."} & set(path.split("/")):
            raise ValueError(f"{address!r}: its path leaves the repository")
        return cls(repo, "dataset" if datasets else "model", revision or "main", path or "")


def _file_address(address: str) -> str:
    if re.fullmatch(r"https?://[^/]+/.*[^/]", address):
        try:
            urlsplit(address).port  # noqa: B018
        except ValueError as error:
            raise ValueError(f"{shown(address)} is not an address ({error})") from None
        return address
    if HubFile.parse(address).path:
        return address
    raise ValueError(f"{address!r} names no file")


def _repo_address(address: str) -> str:
    if HubFile.parse(address).path:
        raise ValueError(f"{address!r} names a file, not a repository")
    return address


FileAddress = Annotated[str, AfterValidator(_file_address)]
RepoAddress = Annotated[str, AfterValidator(_repo_address)]
Digits = Annotated[str, Matching(r"^[0-9a-f]{8,64}$", "8 to 64 lowercase hexadecimal digits")]


class Remote(Strict):
    """One file that can be downloaded. Sizes and hashes that are not published are null, and recorded at first use."""

    at: list[FileAddress] = Field(min_length=1, description="addresses, in order of preference")
    size: int | None = Field(None, gt=0, description="bytes")
    sha256: Digits | None = Field(None, description="as many leading digits as are known, at least 8")

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.at[0]).name

    @property
    def hashed(self) -> bool:
        """Whether its whole sha256 is known."""
        return self.sha256 is not None and len(self.sha256) == 64

    def fault(self, path: Path) -> str | None:
        """How a file differs from this one, by size or hash; None where it does not."""
        found = path.stat().st_size
        if self.size is not None and found != self.size:
            return f"has {found} bytes, not {self.size}"
        if self.sha256 is not None and not (digest := sha256_file(path)).startswith(self.sha256):
            return f"its SHA-256 is {digest}, not {self.sha256}"
        return None


def shown(address: str) -> str:
    """An address without the user name and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", address)


class NoSpace(UserError):
    """The disk is full: another source would not help."""


class Unavailable(UserError):
    """A source does not provide a file: the next one is tried."""


class Passing(Unavailable):
    """The network or the server failed, perhaps temporarily: the same source is tried again."""


def in_units(size: float) -> str:
    """`3.1 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
