"""An exclusive lock on a folder: two trainers on one run would each overwrite what the other wrote.

The kernel holds the lock (`flock`), so that it ends with its owner, however that ends. What the file says is for the
one who is refused: who the owner is.
"""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from framer.errors import UserError

LOCK = "lock"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder/lock` for a block.

    Raises:
        UserError: another process holds it, or the file system has no locks.
    """
    path = folder / LOCK
    handle = _acquire(path)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(_self()).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # where nothing else lies in them
            folder.rmdir()
            folder.parent.rmdir()
        os.close(handle)


def _acquire(path: Path) -> int:
    """A handle that has the lock of the file that lies at `path`, not of one that its last owner has deleted."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(handle)
            os.close(handle)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"{path}: this file system has no locks ({error.strerror}); use another") from None
            raise UserError(f"{path.parent.parent}: {owner} is training it; wait for it or end it") from None
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)


def _self() -> dict[str, str]:
    job = os.environ.get("SLURM_JOB_ID")
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"pid": str(os.getpid()), "host": socket.gethostname(), "job": job or "", "since": started}


def _owner(handle: int) -> str:
    try:
        said = json.loads(os.pread(handle, 4096, 0))
        job = f"Slurm job {said['job']}, " if said["job"] else ""
        return f"{job}process {said['pid']} on {said['host']} since {said['since']}"
    except (ValueError, TypeError, KeyError):  # it has the lock, and has not written yet
        return "another process"
