"""How a training is carried out. Nothing here changes what comes out of it, so nothing is part of a run's identity."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Resume = Literal["latest", "previous", "none"]


@dataclass(frozen=True)
class Session:
    """One start of a training; an interrupted one takes several.

    Attributes:
        progress: show a bar.
        resume: go on from the latest checkpoint, from the newest intact one before it, or start anew and delete both.
        every: seconds between checkpoints; 0 for one a step.
        minutes: stop in good time before that many minutes are over; None for no limit but Slurm's.
        trackers: of accelerate, by name, such as "tensorboard".
        tracking: folder for what they write.
    """

    progress: bool = True
    resume: Resume = "latest"
    every: float = 600.0
    minutes: float | None = None
    trackers: tuple[str, ...] = ()
    tracking: Path | None = None


DEFAULT = Session()
