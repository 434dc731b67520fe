"""Hostile input for the command line, and what every command promises about it.

The inputs are derived from valid ones by seeded mutations: the same cases in every run. FRAMER_FUZZ is the number of
cases per kind; `make fuzz` sets it. A case that lasts longer than `LIMIT` ends with its traceback.
"""

import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fixtures.hub import command

CASES = int(os.environ.get("FRAMER_FUZZ", "50"))
LIMIT = 30
"""Seconds per case; each takes a tenth of one."""
WORDS = [
    b"\xff",
    b"\x00",
    b"\r\n",
    b"\n",
    b"$",
    b"'",
    b'"',
    b"{",
    b"[" * 3000,
    b"NaN",
    b"1e400",
    b"9" * 5000,
    b"-1",
    b"0",
    b"2024-13-45",
    b"../../x",
    b"/etc/passwd",
    b"!!int abc",
    b"!!python/object:os.system x",
    b"*a",
    b"&a [*a]",
    b"null",
    b"\xc3\xa4",
    b"\xf0\x9f\x98\x80",
    b"\xe4",
    b",",
    b": ",
    b"x" * 200_000,
]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` after one to three changes: bits flipped, bytes cut, repeated or replaced, or a hostile word put in."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((0, 1, 1, 4, 40)))
        match rng.randrange(6):
            case 0 if data:
                place = rng.randrange(len(data))
                data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
            case 1:
                data = data[:start] + data[end:]
            case 2:
                data = data[:end] + data[start:]
            case 3:
                data = data[:start]
            case 4:
                lines = data.split(b"\n")
                lines[rng.randrange(len(lines))] = rng.choice(lines)
                data = b"\n".join(lines)
            case _:
                data = data[:start] + rng.choice(WORDS) + data[end:]
    return data


def value_changed(text: str, rng: random.Random) -> str:
    """A text with one of its values, whatever follows a colon, replaced by a hostile word."""
    values = list(re.finditer(r"(?<=: )[^,}\]\n]+", text))
    if not values:
        return text
    found = rng.choice(values)
    return text[: found.start()] + rng.choice(WORDS).decode("latin-1") + text[found.end() :]


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, every subfolder with None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def held(folder: Path, arguments: tuple[str, ...], about: str | None, writes: str = "") -> int:
    """Run a command in `folder` and check what is promised of it; returns its exit code.

    Args:
        folder: the working directory.
        arguments: of `framer`.
        about: a word, a file or key, that the error must name; None where any file may be at fault.
        writes: the output, which alone may change, and only where the command succeeds.
    """
    before = contents(folder)
    code, said = command(*arguments)
    lines = said.splitlines()
    where = f"framer {' '.join(arguments)[:300]} -> {code}: {said[:1000]}"
    assert code in (0, 1, 2), where
    assert len(lines) <= 3, where
    assert len(said) < 4000, where
    after = contents(folder)
    if "--check" in arguments and code == 1 and not lines:  # its finding is on stdout: something is missing
        code = 0
    if code:
        assert lines[-1].startswith("framer: error: "), where
        assert about is None or about in lines[-1], where
    if code or not writes:
        assert after == before, where
    else:
        others = [
            {name: data for name, data in tree.items() if name != writes and not name.startswith(f"{writes}/")}
            for tree in (before, after)
        ]
        assert others[0] == others[1], where
    return code


class HungError(BaseException):
    """A case lasts too long. No command catches it."""


@contextmanager
def limited() -> Iterator[None]:
    """End what lasts longer than `LIMIT`."""

    def end(*_: object) -> None:
        raise HungError(f"longer than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def cases(family: str, one: Callable[[random.Random, Path], int], folder: Path, count: int = CASES) -> None:
    """Run `count` cases of a family, each with a random generator and an empty folder of its own.

    Not all may succeed and not all may fail: such a family would test nothing.
    """
    codes = set()
    for number in range(count):
        place = folder / str(number)
        place.mkdir()
        old = Path.cwd()
        os.chdir(place)
        try:
            with limited():
                codes.add(one(random.Random(f"{family} {number}"), place))
        except BaseException as error:
            error.add_note(f"case {number} of {family}, in {place}")
            raise
        finally:
            os.chdir(old)
        shutil.rmtree(place)
    assert 2 in codes, f"no case of {family} was refused"
