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
