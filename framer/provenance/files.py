"""Files that are written whole or not at all, and the text formats of small ones."""

import csv
import glob
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes files private; a result is as readable as any other file of the user's.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def left_behind(path: Path) -> list[Path]:
    """The temporary files of processes that were killed in `atomic(path)`."""
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*{glob.escape(path.suffix)}"))


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV with Unix line ends, quoted where a value needs it; None is an empty value."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically, in the value's own key order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
