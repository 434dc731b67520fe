"""What a job has finished so far, one line a part of it, so that a job that is killed goes on where it was."""

import json
from pathlib import Path
from typing import Any

from framer.provenance.hashing import digest


class Journal:
    """A hidden file beside the file that the job writes at its end. The job's bytes do not hang on it.

    Its first line names the work; lines of other work are of no use, and the first new line replaces them. Any other
    line is a name and a value. Of two with one name the later holds, and one that was cut short counts as not there.
    """

    def __init__(self, out: Path, task: Any):
        """
        Args:
            out: the file to be.
            task: JSON-able; all that the values hang on beside what they say of themselves, such as settings, weights,
                code and versions.
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
        """The job is done."""
        self.path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                return file.readline().rstrip("\n") == self._head
        except FileNotFoundError:
            return False


def journal_of(out: Path) -> Path:
    """Where the journal of a file to be lies."""
    return out.with_name(f".{out.name}.journal")


def entries(out: Path) -> dict[str, Any]:
    """The values that the journal of a file holds by name, whatever work they are of."""
    return _parsed(journal_of(out))[1]


def _parsed(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        head, *lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return "", {}
    found = {}
    for line in lines:
        try:
            name, value = json.loads(line)
        except ValueError:
            continue
        found[name] = value
    return head, found
