"""What Snakemake leaves in `.snakemake` of a run: which outputs are begun, which are locked, which jobs failed.

These are files, so that they are known on every machine that shares the folder. Snakemake puts a marker beside each
output when its job is submitted, and removes it when the job ends, well or not. It holds a lock on all outputs of a run
for as long as it runs; one that is killed leaves both. Failures stand in its log alone.
"""

import base64
import binascii
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from framer.study.layout import LOGS

FOLDER = Path(".snakemake")


@dataclass(frozen=True)
class Failure:
    """A job that failed in a run.

    Attributes:
        rule: its name.
        outputs: paths as Snakemake spells them.
        log: of the job, below `logs`; None where it has none.
    """

    rule: str
    outputs: tuple[str, ...]
    log: Path | None


def started(folder: Path = FOLDER) -> dict[str, float]:
    """The outputs whose jobs were submitted and have not ended, each with the time of its submission (Unix)."""
    found = {}
    root = folder / "incomplete"
    for where, _, names in os.walk(root):
        for name in names:
            path = Path(where, name)
            try:
                found[_decoded(path.relative_to(root))] = path.stat().st_mtime
            except (ValueError, OSError):  # no marker, or one that has just gone
                continue
    return found


def _decoded(path: Path) -> str:
    """The output that a marker is of. Long names are split into folders that start with @."""
    *folders, name = path.parts
    text = "".join([*(part.removeprefix("@") for part in folders), name])
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except binascii.Error as error:
        raise ValueError(text) from error


def locked(folder: Path = FOLDER) -> set[str]:
    """The outputs of the runs that hold a lock."""
    found: set[str] = set()
    for path in folder.glob("locks/*.output.lock"):
        try:
            found.update(path.read_text(encoding="utf-8").splitlines())
        except OSError:
            continue
    return found


def failures(study: str, folder: Path = FOLDER) -> list[Failure]:
    """The jobs that failed in the latest run of a study; runs of others, and what only unlocks or lists, are none."""
    for path in sorted(folder.glob("log/*.snakemake.log"), reverse=True):
        try:
            status = path.stat()
            of, found = _read(path, status.st_size, status.st_mtime_ns)
        except OSError:
            continue
        if of in (study, ""):
            return found
    return []


@lru_cache(maxsize=64)
def _read(path: Path, *_: int) -> tuple[str | None, list[Failure]]:
    """The study of a log, empty where the command names none, None where it is no run; and the failures in it."""
    study: str | None = None
    runs = False
    found: list[Failure] = []
    block: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("  Command: "):
                study = _study_of(line.partition(": ")[2])
            runs |= line.startswith("Job stats:")
            if block and not line.startswith(" "):
                found += _failures_of(block)
                block = []
            if block or line.startswith("Error in "):
                block.append(line)
    found += _failures_of(block) if block else []
    return (study or "") if runs else None, found


def _study_of(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    return next((word.partition("=")[2] for word in words if word.startswith("study=")), "")


def _failures_of(block: list[str]) -> Iterator[Failure]:
    """Of an error, which is one job or, indented once more, the jobs of a group."""
    rule, outputs, log = "", (), None
    for line in block:
        if match := re.match(r"Error in rule (\w+):|\s+rule (\w+):$", line):
            if outputs:
                yield Failure(rule, outputs, log)
            rule, outputs, log = match[1] or match[2], (), None
        elif match := re.match(r"\s+output: (.+)$", line):
            outputs = tuple(match[1].split(", "))
        elif match := re.match(r"\s+log: (\S+?)(?:,| \(check|$)", line):
            path = Path(match[1])
            log = path if path.is_relative_to(LOGS) and ".." not in path.parts else None
    if outputs:
        yield Failure(rule, outputs, log)
