"""The exceptions that users are meant to read, and how their messages are worded. Nothing here computes a result."""

import difflib
from collections.abc import Iterable
from os import PathLike
from typing import Literal

Code = Literal[
    "invalid",  # a value that is not allowed
    "unknown",  # a name, key or option that does not exist
    "missing",  # a file, folder, key or weight that is required and not there
    "unreadable",  # a file that is damaged or of another format
    "mismatch",  # two things that must agree do not: hashes, sizes, shapes, names, counts
    "conflict",  # two options, keys or files that exclude each other
    "refused",  # would overwrite or delete what the command did not write
    "changed",  # an input changed since the job was planned or started
    "busy",  # another process holds the lock
    "unavailable",  # the network, the hub or a program did not answer, or access is gated
    "diverged",  # a computed value is not finite
]


MOST_LINE = 2000
"""Characters of a message; of a longer one, which quotes a damaged file, the middle is left out."""
MOST_TEXT = 600
"""Characters of names that a message lists; of more, the nearest names."""


class UserError(Exception):
    """Something the user can fix. Its text is one line: the file, the key, what is wrong and how to fix it.

    The command line prints it without a traceback and exits with 2.

    Args:
        message: what is wrong and how to fix it, without file and key.
        path: the file or folder it is about.
        key: the key in that file or the command line option.
        code: the kind of mistake; see `Code`.
    """

    def __init__(
        self, message: str, *, path: str | PathLike[str] | None = None, key: str | None = None, code: Code = "invalid"
    ):
        self.message, self.path, self.key, self.code = message, None if path is None else str(path), key, code
        super().__init__(printable(": ".join(part for part in (self.path, key, message) if part)))


class TrainingInterrupted(Exception):
    """Training was interrupted after saving a checkpoint and can be resumed. The message is one line.

    The command line prints it and exits with 1.
    """


def printable(text: str) -> str:
    """Text on one line: line ends of file names, control characters and undecodable bytes as their escapes."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return line if len(line) <= MOST_LINE else f"{line[: MOST_LINE // 2]} ... {line[-MOST_LINE // 2 :]}"


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`unknown recipe 'reelased', did you mean 'released'? known: ...`; of many known names the nearest ones."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ";"
    near = known if len(", ".join(known)) <= MOST_TEXT else difflib.get_close_matches(name, known, n=5, cutoff=0.0)
    listed = ", ".join(near) if near == known else f"{', '.join(near)} and {len(known) - len(near)} more"
    return f"unknown {what} {name[:100]!r}{hint} known: {listed}"


def named(names: Iterable[str], most: int = 5) -> str:
    """`a, b, c and 2 more`: the first few of some names, in their order."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def one_line(error: BaseException, most: int = 300) -> str:
    """The start of a library exception's message on one line; its type if it has none."""
    return " ".join(str(error).split())[:most] or type(error).__name__
