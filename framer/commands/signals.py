"""What signals do to a command: they unwind it, and SIGTERM ends it even where it cannot unwind."""

import os
import signal
import sys
import threading
import time
from functools import cache

GRACE = 25.0
"""Seconds after SIGTERM until a command that has not ended by itself is ended. Slurm kills after 30."""


def install() -> None:
    """Take over SIGTERM and SIGINT, in the main thread."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _watch()


def _terminate(*_: object) -> None:
    """A cancelled or preempted job gets SIGTERM: unwind, so that no temporary file stays behind."""
    print("framer: terminated", file=sys.stderr)
    sys.exit(1)


@cache  # one thread per process
def _watch() -> None:
    """Python runs a handler between two operations of the main thread: one that lasts for hours would outlive it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # Children inherit the pipe, and their signals are not ours.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
    threading.Thread(target=_end_late, args=(reader,), daemon=True).start()


def _end_late(reader: int) -> None:
    while signal.SIGTERM not in os.read(reader, 64):
        pass
    started = time.monotonic()
    while time.monotonic() - started < GRACE:
        time.sleep(GRACE / 50)
        if signal.getsignal(signal.SIGTERM) is not _terminate:  # a training first finishes its step and checkpoint
            started = time.monotonic()
    import multiprocessing  # only here: every start of a command would pay for it

    for child in multiprocessing.active_children():
        child.kill()
    os.write(2, f"framer: terminated; it had not ended {GRACE:.0f} s after SIGTERM\n".encode())
    os._exit(1)
