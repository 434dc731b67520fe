"""When a training has to stop before it is finished: a signal, or the end of its time.

Slurm sends SIGTERM at preemption, at the time limit and when a job is cancelled, and kills half a minute later. A
checkpoint of gigabytes on a busy file system can take longer, so the trainer knows its own deadline and stops ahead.
"""

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import FrameType

GRACE = 20.0
"""Seconds before the deadline at which to stop at the latest, besides the time that a step and a checkpoint take."""


@dataclass(frozen=True)
class SlurmJob:
    """The Slurm job in which this process runs.

    Attributes:
        id: its number.
        seconds: until its time limit; None for a job without one.
        rule: whether Snakemake submitted it for one rule, so that requeueing it restarts this training.
        requeue: whether Slurm may requeue it.
    """

    id: str
    seconds: float | None
    rule: bool
    requeue: bool

    @classmethod
    def own(cls) -> "SlurmJob | None":
        """The job of this process; None outside Slurm, or where Slurm does not answer."""
        number = os.environ.get("SLURM_JOB_ID")
        if not number:
            return None
        try:
            command = ["scontrol", "--oneliner", "show", "job", number]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return None
        return cls.parse(number, answer, datetime.now())

    @classmethod
    def parse(cls, number: str, answer: str, now: datetime) -> "SlurmJob":
        """Read one line of `scontrol --oneliner show job`; its times are local ones, as `now` is."""
        fields = dict(re.findall(r"(\w+)=(\S*)", answer))
        try:
            seconds = (datetime.fromisoformat(fields["EndTime"]) - now).total_seconds()
        except (KeyError, ValueError):  # Unknown
            seconds = None
        rule = fields.get("Comment", "").startswith("rule_") and fields.get("BatchFlag") == "1"
        return cls(number, seconds, rule, fields.get("Requeue") == "1")

    def requeue_now(self) -> bool:
        """Ask Slurm to run this job again, with a new time limit; whether it agreed."""
        command = ["scontrol", "requeue", self.id]
        try:
            return subprocess.run(command, stdout=sys.stderr, stderr=sys.stderr, timeout=60).returncode == 0
        except (OSError, subprocess.SubprocessError):
            return False


class Stop:
    """Whether it is time to stop, and the reason.

    Args:
        minutes: until the user's deadline; an earlier one of Slurm counts instead.
        job: the Slurm job of this process.
    """

    def __init__(self, minutes: float | None, job: SlurmJob | None):
        self.job = job
        self.signal: int | None = None
        own = math.inf if minutes is None else 60 * minutes
        slurm = math.inf if job is None or job.seconds is None else job.seconds
        self.deadline = time.monotonic() + min(own, slurm)
        self.by_slurm = slurm < own
        self.longest = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note SIGTERM and SIGINT for a block instead of dying of them; a second SIGINT interrupts at once."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def took(self, seconds: float) -> None:
        """Record the duration of a step or a checkpoint."""
        self.longest = max(self.longest, seconds)

    @property
    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if self.signal is not None:
            return signal.Signals(self.signal).name
        if time.monotonic() + GRACE + 2 * self.longest > self.deadline:
            return "the time limit is near"
        return None

    def requeue(self) -> bool:
        """Requeue the job where Slurm's limit is the reason, and wait until Slurm ends this process."""
        ours = self.by_slurm and self.signal is None and self.job is not None and self.job.rule and self.job.requeue
        if not (ours and self.job and self.job.requeue_now()):
            return False
        # Slurm ends the job now. Going first would look like a failure.
        with self.listening():
            for _ in range(60):
                if self.signal is not None:
                    break
                time.sleep(1)
        return True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
