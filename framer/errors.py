"""The exceptions that users are meant to read."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right. The message is one line that names the file, the key and what to do.

    The command line prints it without a traceback and exits with 2.
    """


class Stopped(Exception):
    """A training was told to stop, has written its checkpoint and can go on later. The message is one line.

    The command line prints it and exits with 1.
    """


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`unknown recipe 'reelased', did you mean 'released'? Known: ...`."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ";"
    return f"unknown {what} {name!r}{hint} known: {', '.join(known)}"


def named(names: Iterable[str], most: int = 5) -> str:
    """`a, b, c and 2 more`: the first few of some names, which are not sorted here."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def one_line(error: BaseException, most: int = 300) -> str:
    """The beginning of what a library's exception says, in one line; its type where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__
