"""An exclusive lock on an output: two writers would each overwrite what the other wrote.

The kernel holds the lock (`flock`), so that it ends with its owner, however that ends. The file's content is for the
one who is refused: it names the owner.
"""

import errno
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from framer.errors import UserError


@contextmanager
def exclusive(path: Path, output: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock for a block.

    Args:
        path: the lock file, hidden, in a folder that is created where it is missing and removed where it stays empty.
        output: what is written, for the message.
        wait: wait for another owner, with a line on stderr that names it, instead of failing.

    Raises:
        UserError: another process holds it, code "busy"; or the file system has no locks.
    """
    created = [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]
    handle = _acquire(path, output, wait)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(_self()).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # where nothing else lies in them
            for folder in created:
                folder.rmdir()
        os.close(handle)


def _acquire(path: Path, output: Path, wait: bool) -> int:
    """A handle that has the lock of the file that lies at `path`, not of one that its last owner has deleted."""
    announced = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if announced else fcntl.LOCK_NB))
        except OSError as error:
            owner = _owner(handle)
            os.close(handle)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                message = f"this file system has no locks ({error.strerror}); use another"
                raise UserError(message, path=path, code="unavailable") from None
            if not wait:
                message = f"{owner} is writing it; wait for it or end it"
                raise UserError(message, path=output, code="busy") from None
            print(f"framer: {output}: {owner} is writing it; waiting", file=sys.stderr)
            announced = True
            continue
        except BaseException:  # a signal ends the wait
            os.close(handle)
            raise
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
        about = json.loads(os.pread(handle, 4096, 0))
        job = f"Slurm job {about['job']}, " if about["job"] else ""
        return f"{job}process {about['pid']} on {about['host']} since {about['since']}"
    except (ValueError, TypeError, KeyError):  # it has the lock, and has not written yet
        return "another process"
