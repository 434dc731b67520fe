"""The jobs of a rehearsal as processes of their own, each measured as the system counts it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["ok", "failed", "out of memory", "killed as planned", "skipped"]

POLL = 0.2
"""Seconds between two looks at a training that is to be killed."""
_LAUNCHER = """
import os, signal, sys

def kill(*_):
    os.kill(pid, signal.SIGKILL) if pid else sys.exit(1)

pid, report = 0, int(sys.argv[1])
os.set_inheritable(report, False)
signal.signal(signal.SIGTERM, kill)
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
os.write(report, f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}".encode())
"""
"""Starts a job, waits for it and reports its exit code and peak. The kernel counts the memory of the process that
started another as the other's own, so that this one must be small."""


@dataclass(frozen=True)
class Measured:
    """One job.

    Attributes:
        rule: of the workflow, whose request it is compared with.
        name: what it did, in words.
        outcome: whether it ended as it should.
        seconds: of wall clock, with the start of the process.
        peak: bytes of memory at most (resident set of the process and its children).
        gpu_peak: bytes of GPU memory at most, where the job records it.
        reason: the last line of its log, of a job that failed.
    """

    rule: str
    name: str
    outcome: Outcome
    seconds: float = 0.0
    peak: int = 0
    gpu_peak: int = 0
    reason: str = ""


def run(rule: str, name: str, arguments: list[str], log: Path, kill_when: Callable[[], bool] | None = None) -> Measured:
    """Run `framer ARGUMENTS` and wait for its end.

    Args:
        rule, name: as in `Measured`.
        arguments: of the command line.
        log: what it prints.
        kill_when: asked every 0.2 s; when it is true, the process is killed, as a cluster kills a job.

    Returns:
        The measurement. A process that the kernel killed, and an error that names memory, is "out of memory".
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    reader, writer = os.pipe()
    with log.open("wb") as file, os.fdopen(reader) as report:
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(writer)]
        process = subprocess.Popen(
            [*launcher, sys.executable, "-m", "framer", *arguments], stdout=file, stderr=file, pass_fds=[writer]
        )
        os.close(writer)
        try:
            killed = _wait(process, kill_when)
        finally:
            if process.returncode is None:  # this process is being ended
                process.terminate()
                process.wait()
        code, peak = map(int, report.read().split())
    text = log.read_text(encoding="utf-8", errors="replace")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()
    outcome: Outcome = "ok" if code == 0 else "failed"
    if code == -signal.SIGKILL:
        outcome = "killed as planned" if killed else "out of memory"
    elif code and any(
        word in text for word in ("out of memory", "OutOfMemory", "can't allocate memory", "MemoryError")
    ):
        outcome = "out of memory"
    reason = "" if outcome in ("ok", "killed as planned") else last or f"ended with {code}"
    return Measured(rule, name, outcome, time.monotonic() - started, peak * 1024, reason=reason)


def _wait(process: "subprocess.Popen[bytes]", kill_when: Callable[[], bool] | None) -> bool:
    """Wait for a launcher; whether its job was killed here."""
    while kill_when and process.poll() is None:
        if kill_when():
            process.terminate()
            process.wait()
            return True
        time.sleep(POLL)
    process.wait()
    return False
