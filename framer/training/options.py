"""Options of a training that do not change its result, and so are no part of a run's identity."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Resume = Literal["latest", "previous", "none"]


@dataclass(frozen=True)
class Session:
    """One start of a training; an interrupted one takes several.

    Attributes:
        progress: show a bar.
        resume: from the latest checkpoint, from the newest intact one before it, or start over and delete both.
        every: seconds between checkpoints; 0 for one per step.
        minutes: stop before that many minutes are over; None for no limit but Slurm's.
        trackers: names of accelerate's trackers, such as "tensorboard".
        tracking: folder for their files.
        study: the study file that lists the trackers, for messages.
    """

    progress: bool = True
    resume: Resume = "latest"
    every: float = 600.0
    minutes: float | None = None
    trackers: tuple[str, ...] = ()
    tracking: Path | None = None
    study: Path | None = None


DEFAULT = Session()
