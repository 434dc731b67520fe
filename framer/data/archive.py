"""Images out of zip and tar archives: only those that are asked for, each checked before it lands on the disk."""

import shutil
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


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.is_file() and path.name.lower().endswith(ARCHIVES) and not path.name.startswith(".")


def extract(archive: Path, members: Mapping[Part, str], folder: Path) -> None:
    """Unpack images of an archive, each into a flat subfolder.

    Args:
        archive: .zip, .tar, .tar.gz or .tgz. A zip's CRCs are checked.
        members: subfolder of `folder`: where its images are in the archive, as `a/b/` (right there), `**/b/` (in any
            folder of that name) or `**/` (anywhere).
        folder: holds the subfolders.

    Raises:
        UserError: it is no archive or a damaged one, a member would land elsewhere or on another one, or the disk takes
            no more.
    """
    try:
        with _opened(archive) as listed:
            for name, stream in listed:
                for part, pattern in members.items():
                    if image := _selected(archive, name, pattern):
                        _write(archive, name, stream, folder / part / image)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: a damaged archive ({one_line(error)}); fetch it again") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot unpack {archive.name} ({error}); free space and run again") from None


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
    if astray or not image or (not anywhere and name.removeprefix(pattern) != base):
        raise UserError(f"{archive}: {name!r} is not an image right in its folder; nothing was unpacked")
    return base


def _write(archive: Path, name: str, stream: _Stream, path: Path) -> None:
    if path.exists():
        raise UserError(f"{archive}: {name!r} is there twice; nothing was unpacked")
    packed = stream.open()
    if packed is None:
        raise UserError(f"{archive}: {name!r} is a link; nothing was unpacked")
    with packed, path.open("wb") as out:
        shutil.copyfileobj(packed, out)
