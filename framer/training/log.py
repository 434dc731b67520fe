"""Logs of a running training: all values of all steps for log.csv, a progress bar, and accelerate's trackers."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from tqdm import tqdm

from framer.errors import UserError, one_line
from framer.provenance.files import csv_text, write_json, write_text
from framer.runs.runtime import peak_bytes
from framer.study.jobs import PretrainJob
from framer.training.options import Session
from framer.training.usage import device_name

Row = dict[str, Any]

SECOND = 1.0
"""Trackers write files: at most one point per this many seconds."""


class Trackers:
    """TensorBoard or other trackers of accelerate. Written by the first rank alone.

    Their files contain times and host names, so they are kept with the logs and not with the results.
    """

    def __init__(self, accelerator: Accelerator, session: Session, name: str):
        self.accelerator = accelerator
        self.last = 0.0
        self.folder = session.tracking and session.tracking / name
        self.open = bool(session.trackers) and session.tracking is not None
        if not self.open or session.tracking is None:
            return
        if accelerator.is_main_process:
            session.tracking.mkdir(parents=True, exist_ok=True)
        try:
            accelerator.init_trackers(name)
        except Exception as error:  # each has its own: not installed, not logged in, no network
            names = ", ".join(session.trackers)
            raise UserError(
                f"{names}: {one_line(error)}", path=session.study, key="trackers", code="unavailable"
            ) from None

    def speed(self, job: PretrainJob, stage: str, seconds: float, steps: int) -> None:
        """Record the seconds per training image on one device, for `framer plan`; the first steps are included."""
        if not (steps and self.folder and self.accelerator.is_main_process):
            return
        settings, device = job.stages[stage], self.accelerator.device
        speed: Row = {"backbone": job.backbone, "base": job.base, "stage": stage, "crop": settings.crop}
        speed["seconds"] = seconds * self.accelerator.num_processes / (steps * settings.batch)
        speed["device"] = device_name(device, job.threads)
        write_json(self.folder / f"speed-{stage}.json", speed)

    def show(self, stage: str, row: Mapping[str, Any], last: bool) -> None:
        """Send a step's values once per second, and those of the last step."""
        now = time.monotonic()
        if self.open and (last or now - self.last >= SECOND):
            values = {f"{stage}/{name}": value for name, value in row.items() if name not in ("stage", "step")}
            self.accelerator.log(values, step=row["step"])
            self.last = now


class Bar:
    """A progress bar over the steps of a stage: time left, loss, images per second, memory."""

    def __init__(self, label: str, first: int, steps: int, batch: int, shown: bool):
        self.batch, self.first = batch, first
        self.started = time.perf_counter()
        self.bar = tqdm(
            total=steps, initial=first, desc=label, unit="step", file=sys.stderr, disable=not shown, mininterval=1.0
        )

    def advance(self, step: int, loss: float) -> None:
        """Count one finished step."""
        if not self.bar.disable:
            speed = (step + 1 - self.first) * self.batch / (time.perf_counter() - self.started)
            self.bar.set_postfix_str(
                f"loss {loss:.4g}, {speed:.3g} images/s, {peak_bytes() / 2**30:.1f} GiB", refresh=False
            )
        self.bar.update()

    def close(self) -> None:
        """Close the bar and keep its last line."""
        self.bar.close()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: list[str]) -> None:
    """Write rows as CSV, numbers as Python prints them; `columns` are the header of a table without rows."""
    found = list(dict.fromkeys(column for row in rows for column in row)) or columns  # stages differ in their terms
    write_text(path, csv_text(found, ([row.get(column) for column in found] for row in rows)))
