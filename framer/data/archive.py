"""Images out of zip and tar archives: only those that are asked for, each checked before it lands on the disk."""

import gzip
import lzma
import reprlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from framer.data.images import SUFFIXES
from framer.data.manifest import Part
from framer.errors import UserError, one_line

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
RATIO, ALLOWANCE = 20, 64 << 20
"""Images may unpack to so many times the bytes of their archive, and to these more: photographs hardly shrink."""
_BLOCK = 1 << 20
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    ValueError,
    OverflowError,
)


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.is_file() and path.name.lower().endswith(ARCHIVES) and not path.name.startswith(".")


def extract(archive: Path, members: Mapping[Part, str], folder: Path, count: int | None = None) -> None:
    """Unpack images of an archive, each into a flat subfolder.

    Args:
        archive: .zip, .tar, .tar.gz or .tgz. A zip's CRCs are checked, and a compressed tar's checksum at its end.
        members: subfolder of `folder`: where its images are in the archive, as `a/b/` (right there), `**/b/` (in any
            folder of that name) or `**/` (anywhere).
        folder: holds the subfolders.
        count: images per subfolder that the manifest allows; None for any number.

    Raises:
        UserError: it is no archive, a damaged or an encrypted one or of another compression, a member would be placed
            elsewhere or on another one, it holds more than the manifest allows, or the disk is full.
    """
    found = dict.fromkeys(members, 0)
    left = archive.stat().st_size * RATIO + ALLOWANCE
    try:
        with _opened(archive) as listed:
            for name, stream in listed:
                for part, pattern in members.items():
                    if image := _selected(archive, name, pattern):
                        found[part] += 1
                        if count is not None and found[part] > count:
                            message = f"{name!r} is one image of {part} more than the {count} of the manifest"
                            raise UserError(f"{message}; nothing was unpacked", path=archive, code="mismatch")
                        left = _write(archive, name, stream, folder / part / image, left)
    except _BROKEN as error:
        message = f"a damaged archive ({one_line(error)}); fetch it again"
        raise UserError(message, path=archive, code="unreadable") from None
    except (RuntimeError, NotImplementedError) as error:  # of zipfile: encrypted, or a method it does not know
        encrypted = "encrypted" in str(error) or "password" in str(error)
        why = "is encrypted" if encrypted else f"has a compression that Python cannot read ({one_line(error)})"
        message = f"{why}; unpack it with another program and pack it again as a plain zip or tar"
        raise UserError(message, path=archive, code="unreadable") from None
    except OSError as error:
        message = f"cannot unpack {archive.name} ({error}); free space and run again"
        raise UserError(message, path=folder, code="unavailable") from None


Members = Iterator[tuple[str, "_Stream"]]


class _Stream:
    """A member that is opened when it is wanted."""

    def __init__(self, file: zipfile.ZipFile | tarfile.TarFile, member: zipfile.ZipInfo | tarfile.TarInfo):
        self.file, self.member = file, member

    def open(self) -> IO[bytes] | None:
        if isinstance(self.file, zipfile.ZipFile):
            assert isinstance(self.member, zipfile.ZipInfo)
            return self.file.open(self.member)
        assert isinstance(self.member, tarfile.TarInfo)
        return self.file.extractfile(self.member) if self.member.isreg() else None


@contextmanager
def _opened(archive: Path) -> Iterator[Members]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            yield ((m.filename, _Stream(packed, m)) for m in packed.infolist() if not m.is_dir())
    else:
        with tarfile.open(archive) as tape:
            yield ((m.name.removeprefix("./"), _Stream(tape, m)) for m in tape if not m.isdir())
            _read_to_the_end(tape)


def _read_to_the_end(tape: tarfile.TarFile) -> None:
    """A compressed tar's checksum follows its last member: a stream that ends before it was cut short."""
    assert tape.fileobj is not None
    while tape.fileobj.read(_BLOCK):
        pass


def _selected(archive: Path, name: str, pattern: str) -> str | None:
    """The file name of a member that a pattern selects, or None.

    Raises:
        UserError: it is selected but is no image right in its folder.
    """
    base = PurePosixPath(name).name
    astray = "\\" in name or name.startswith("/") or ".." in name.split("/")
    if (base.startswith(".") or name.startswith("__MACOSX/")) and not astray:
        return None  # .DS_Store and its like
    image = PurePosixPath(name).suffix.lower() in SUFFIXES
    anywhere = pattern.startswith("**/")
    if anywhere:
        wanted = PurePosixPath(pattern.removeprefix("**/")).parts
        parents = PurePosixPath(name).parent.parts
        if not image or parents[len(parents) - len(wanted) :] != wanted:
            return None
    elif not name.startswith(pattern):
        return None
    if astray or not image or (not anywhere and name.removeprefix(pattern) != base) or not base.isprintable():
        message = f"{reprlib.repr(name)} is not an image right in its folder; nothing was unpacked"
        raise UserError(message, path=archive)
    return base


def _write(archive: Path, name: str, stream: _Stream, path: Path, left: int) -> int:
    """Unpack one image; returns how many of the bytes that are `left` to its archive remain."""
    if path.exists():
        raise UserError(f"{name!r} is there twice; nothing was unpacked", path=archive, code="conflict")
    packed = stream.open()
    if packed is None:
        raise UserError(f"{name!r} is a link; nothing was unpacked", path=archive)
    with packed, path.open("wb") as out:
        while block := packed.read(_BLOCK):
            left -= len(block)
            if left < 0:
                message = f"its images unpack to more than {RATIO} times its size; nothing was unpacked"
                raise UserError(message, path=archive, code="mismatch")
            out.write(block)
    return left
