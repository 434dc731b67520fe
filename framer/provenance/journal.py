"""What a job has finished so far, one line per part, so that a job that is killed resumes where it was."""

import json
from pathlib import Path
from typing import Any

from framer.provenance.hashing import digest


class Journal:
    """A hidden file beside the file that the job writes at its end. The job's bytes do not depend on it.

    Its first line identifies the work; lines of other work are ignored, and the first new line replaces them. Every
    other line is a name and a value. Of two with one name the later counts, and damaged lines are ignored.
    """

    def __init__(self, out: Path, task: Any):
        """
        Args:
            out: the file that the job will write.
            task: JSON-able; everything that the values depend on and do not state themselves, such as settings,
                weights, code and versions.
        """
        self.path = journal_of(out)
        self._head = digest(task)

    def read(self) -> dict[str, Any]:
        """The values of the same work by name."""
        head, found = _parsed(self.path)
        return found if head == self._head else {}

    def append(self, name: str, value: Any) -> None:
        """Keep one JSON-able value. When this returns, the death of the process does not undo it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        ours = self._is_ours()
        with self.path.open("a" if ours else "w", encoding="utf-8") as file:
            # The line feed in front ends a line that a killed job left unfinished.
            file.write(("" if ours else self._head) + "\n" + json.dumps([name, value]))

    def remove(self) -> None:
        """Delete it: the job is done."""
        self.path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                return file.readline().rstrip("\n") == self._head
        except FileNotFoundError:
            return False


def journal_of(out: Path) -> Path:
    """Where the journal of an output lies."""
    return out.with_name(f".{out.name}.journal")


def entries(out: Path) -> dict[str, Any]:
    """The values in the journal of a file by name, whatever work they belong to."""
    return _parsed(journal_of(out))[1]


def _parsed(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        head, *lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return "", {}
    found = {}
    for line in lines:
        try:
            name, value = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(name, str):
            found[name] = value
    return head, found
