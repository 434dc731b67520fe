"""The guard of all writers: what a command may write into, replace and delete.

An output folder is new, empty, or was written by the same kind of command. Its card, its index or its journal lists by
name what was written, and exactly those files are replaced; any other file in it is a reason to refuse, before anything
is changed. An output is never an input, around one, or inside one. While it is written, a lock keeps other processes
out.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath

from framer.errors import UserError, named
from framer.provenance.cards import CARD, MEASURED
from framer.provenance.files import left_behind
from framer.provenance.journal import Journal
from framer.provenance.lock import exclusive

FETCHED = ("set", "repo", "weights")
"""Keys in cards of data sets and of published weights, which no other command replaces."""
SHOWN = 6
"""Files in the way that are looked for before the search ends: a home folder is not read to its end."""


def keep_apart(out: Path, inputs: Iterable[Path | None]) -> None:
    """Check that an output is no input, not around one, and not inside one.

    Inside a plain folder of images is allowed, as in `--lr . --out restored`: subfolders are not read. A folder with a
    card, and all of the data set that an input is a part of, are not to be written into.

    Args:
        out: a file or folder.
        inputs: files and folders that are read; None where an option is not given.

    Raises:
        UserError: it is one of these; code "refused".
    """
    target = out.resolve()
    for path in inputs:
        if path is None:
            continue
        source = path.resolve()
        carded = [at for at in (source, source.parent) if (at / CARD).is_file() and target.is_relative_to(at)]
        if target == source:
            message = "is an input of this command and would be overwritten; name another"
        elif source.is_relative_to(target):
            message = f"holds {path}, an input of this command; name a folder outside of it"
        elif carded:
            message = f"lies in {carded[0]}, which holds inputs of this command; name a folder outside of it"
        else:
            continue
        raise UserError(message, path=out, key="--out", code="refused")


def safe(name: object) -> bool:
    """Whether a listed name is a relative path that stays inside its folder."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        return False
    return not name.startswith("/") and ".." not in PurePosixPath(name).parts


def listed_by_card(folder: Path, kind: str) -> set[str]:
    """The names that a folder's card lists, and its own; none without a card, or with a damaged one.

    Raises:
        UserError: the card is of another kind, or of fetched data; code "refused".
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, RecursionError):
        return {CARD}
    found = card.get("kind") if isinstance(card, dict) else None
    if found != kind or any(key in card for key in FETCHED):
        what = f"a card of kind {found!r}" if found != kind else "the card of fetched data"
        raise UserError(f"{what}, which this command does not replace; name another --out", path=path, code="refused")
    payload, snapshots = (value if isinstance(value := card.get(key), dict) else {} for key in ("payload", "snapshots"))
    names = {*payload, *(f"snapshots/{name}" for name in snapshots)}
    return {name for name in names if safe(name)} | {CARD, MEASURED}


def refuse_others(folder: Path, listed: Collection[str]) -> None:
    """Check that a folder holds nothing visible but listed files. Hidden files and empty subfolders do not count.

    Raises:
        UserError: there is something else, of which up to five names are given; code "refused".
    """
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file, where a folder is needed; name another --out", path=folder, code="refused")
    others = list(islice(_others(folder, listed), SHOWN))
    if others:
        message = f"holds {named(others)}, not written by this command; name an empty folder or move them away"
        raise UserError(message, path=folder, code="refused")


def _others(folder: Path, listed: Collection[str]) -> Iterator[str]:
    for top, folders, files in os.walk(folder):
        base = Path(top).relative_to(folder)
        links = [name for name in folders if Path(top, name).is_symlink()]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in links)
        named_as_file = [name for name in folders if (base / name).as_posix() in listed]
        yield from ((base / name).as_posix() for name in named_as_file)
        for name in sorted([*files, *links]):
            relative = (base / name).as_posix()
            if not name.startswith(".") and relative not in listed:
                yield relative


class OutputFolder:
    """A folder that a command holds and fills.

    A hidden journal in it, `.KIND.journal`, lists every file before it is written, and stays: whatever deletes the card
    later, the files are known to be replaceable.
    """

    def __init__(self, folder: Path, kind: str):
        self.folder, self.kind = folder, kind
        self._journal = Journal(folder / kind, kind)
        self._announced = set(self._journal.read())

    @property
    def listed(self) -> set[str]:
        """The names of all that the same kind of command wrote here.

        Raises:
            UserError: the folder's card is of another kind.
        """
        return {name for name in self._announced if safe(name)} | listed_by_card(self.folder, self.kind)

    def leave_nothing(self) -> None:
        """Delete the journal where nothing lies beside it but the lock: nothing came of it, and no folder stays."""
        if {path.name for path in self.folder.iterdir()} <= {".lock", self._journal.path.name}:
            self._journal.remove()

    def file(self, name: str) -> Path:
        """The path of a file that is about to be written, listed from now on."""
        if name not in self._announced:
            self._journal.append(name, None)
            self._announced.add(name)
        return self.folder / name

    def clear(self, keep: Collection[str] = ()) -> None:
        """Delete the listed files, the card first, and what a killed process left half-written of them."""
        (self.folder / CARD).unlink(missing_ok=True)
        remove(self.folder, self.listed - set(keep))


def remove(folder: Path, names: Iterable[str]) -> None:
    """Delete files by their listed names, temporary ones of theirs, and subfolders that are empty then."""
    for name in sorted(names):
        path = folder / name
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            continue  # a subfolder that is a link leads out of here
        path.unlink(missing_ok=True)
        for part in left_behind(path):
            part.unlink(missing_ok=True)
        for parent in path.relative_to(folder).parents[:-1]:
            try:
                (folder / parent).rmdir()
            except OSError:
                break


def check(folder: Path, kind: str, known: Collection[str] = (), inputs: Iterable[Path | None] = ()) -> OutputFolder:
    """Check that a command may write into a folder, before it starts what takes long; `claimed` checks again.

    Raises:
        UserError: as `claimed`, but for "busy".
    """
    keep_apart(folder, inputs)
    output = OutputFolder(folder, kind)
    refuse_others(folder, output.listed | set(known))
    return output


@contextmanager
def claimed(
    folder: Path,
    kind: str,
    *,
    names: Iterable[str] = (),
    known: Collection[str] = (),
    inputs: Iterable[Path | None] = (),
) -> Iterator[OutputFolder]:
    """Hold an output folder for a block.

    Args:
        folder: it need not exist.
        kind: of its card, or what it holds where there is none, such as "tables".
        names: files that will be written whatever happens; listed at once.
        known: more files that are known to be written by the same kind of command.
        inputs: what the command reads; see `keep_apart`.

    Raises:
        UserError: the folder is an input, around one, or in one; it holds something else; code "refused". Another
            process writes it; code "busy".
    """
    check(folder, kind, known, inputs)
    with exclusive(folder / ".lock", folder):
        output = check(folder, kind, known, inputs)
        for name in names:
            output.file(name)
        try:
            yield output
        finally:
            output.leave_nothing()


@contextmanager
def claimed_file(out: Path, is_ours: Callable[[Path], bool], inputs: Iterable[Path | None] = ()) -> Iterator[None]:
    """Hold an output file for a block.

    Args:
        out: it need not exist.
        is_ours: whether a file that exists was written by the same kind of command.
        inputs: what the command reads; see `keep_apart`.

    Raises:
        UserError: as `claimed`.
    """
    keep_apart(out, inputs)
    if out.is_dir():
        raise UserError("is a folder, where a file is needed; name another", path=out, key="--out", code="refused")
    with exclusive(out.with_name(f".{out.name}.lock"), out):
        if os.path.lexists(out) and not is_ours(out):
            message = "exists and was not written by this command; move it away or name another"
            raise UserError(message, path=out, key="--out", code="refused")
        yield
