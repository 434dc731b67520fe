"""What a rehearsal wrote, so that the next one removes that and nothing else."""

import json
from collections.abc import Iterable
from pathlib import Path

from framer.errors import UserError
from framer.provenance.files import write_json

FILE = ".rehearsal.json"


class Inventory:
    """The files that a rehearsal wrote into its folder, kept in the folder itself.

    While a job runs, its outputs are listed before they are there: a rehearsal that is killed leaves no file that the
    next one does not know.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: of the rehearsal.
        """
        self.folder = folder
        self.written: set[str] = set()
        self.expected: set[str] = set()

    def clear(self) -> None:
        """Remove what the rehearsal before wrote, and the folders that are empty then.

        Raises:
            UserError: the folder has a file that it did not write; nothing is removed.
        """
        owned = self._read()
        files = [path for path in self.folder.rglob("*") if not path.is_dir() or path.is_symlink()]
        names = [path.relative_to(self.folder).as_posix() for path in files]
        foreign = sorted(name for name in names if name != FILE and not _covered(name, owned))
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            message = f"holds {foreign[0]}{more}, written by no rehearsal; move it away"
            raise UserError(message, path=self.folder, key="rehearse", code="refused")
        for path in files:
            path.unlink()
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.rmdir()

    def expect(self, outputs: Iterable[Path]) -> None:
        """List files and folders before they are written; those outside the folder are not its own."""
        inside = [path for path in outputs if path.is_relative_to(self.folder)]
        self.expected = {path.relative_to(self.folder).as_posix() for path in inside}
        self._write(self.written | self.expected)

    def record(self) -> None:
        """List the files that are there now of what was expected, in its place."""
        owned = self.written | self.expected
        names = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
        self.written = {name for name in names if _covered(name, owned)}
        self._write(self.written)

    def _read(self) -> set[str]:
        path = self.folder / FILE
        if not path.is_file():
            return set()
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["files"]
            return {str(name) for name in found}
        except (ValueError, KeyError, TypeError):
            raise UserError("not the list of a rehearsal; delete the folder", path=path, code="unreadable") from None

    def _write(self, names: set[str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / FILE, {"files": sorted(names)})


def _covered(name: str, owned: set[str]) -> bool:
    """Whether a file is listed, or lies in a folder that is."""
    parts = name.split("/")
    return any("/".join(parts[:end]) in owned for end in range(1, len(parts) + 1))
