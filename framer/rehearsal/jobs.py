"""The jobs of a rehearsal as processes of their own, each measured as the system counts it."""

import os
import resource
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
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "framer", *arguments], stdout=file, stderr=file)
    try:
        usage, killed = _wait(process, kill_when)
    finally:
        if process.returncode is None:  # this process is being ended
            process.kill()
            process.wait()
    code, text = process.returncode, log.read_text(encoding="utf-8", errors="replace")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()
    outcome: Outcome = "ok" if code == 0 else "failed"
    if code == -signal.SIGKILL:
        outcome = "killed as planned" if killed else "out of memory"
    elif code and any(
        word in text for word in ("out of memory", "OutOfMemory", "can't allocate memory", "MemoryError")
    ):
        outcome = "out of memory"
    reason = "" if outcome in ("ok", "killed as planned") else last or f"ended with {code}"
    return Measured(rule, name, outcome, time.monotonic() - started, usage.ru_maxrss * 1024, reason=reason)


def _wait(
    process: "subprocess.Popen[bytes]", kill_when: Callable[[], bool] | None
) -> tuple[resource.struct_rusage, bool]:
    """Wait for a process; what it used, by the kernel's account of this child alone, and whether it was killed here."""
    killed = False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG if kill_when and not killed else 0)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage, killed
        if kill_when and kill_when():
            process.kill()
            killed = True
        else:
            time.sleep(POLL)
