"""Device, ranks, precision and trackers of a training, through accelerate."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from framer.errors import UserError, one_line
from framer.study.jobs import PretrainJob
from framer.training.options import DEFAULT, Session

if TYPE_CHECKING:
    pass
from framer.runs.runtime import deterministic

MIXED = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}


@contextmanager
def accelerated(job: PretrainJob, session: Session = DEFAULT) -> Iterator[Accelerator]:
    """Device, ranks, precision and trackers of a training, for a block. Tiny bases train on CPUs, whatever there is.

    A process is one of several where `torchrun` started it.

    Raises:
        UserError: a tracker that accelerate does not have, or that is not installed.
    """
    deterministic(job.threads, job.numerics.deterministic)
    AcceleratorState._reset_state(True)  # accelerate refuses a second precision or group in one process otherwise
    tracked = session.tracking and session.trackers
    logging = {"log_with": list(session.trackers), "project_dir": session.tracking} if tracked else {}
    # No buffer changes in training, and DiT4SR's table of positions is half a gigabyte.
    ranks = DistributedDataParallelKwargs(broadcast_buffers=False)
    precision = MIXED[job.numerics.precision]
    try:
        accelerator = Accelerator(cpu=job.base == "tiny", mixed_precision=precision, kwargs_handlers=[ranks], **logging)
    except (ValueError, ImportError) as error:
        raise UserError(f"trackers or precision: {one_line(error)}") from None
    try:
        yield accelerator
    finally:
        accelerator.end_training()


def is_first() -> bool:
    """Whether this process is the first of those that train together, known before they meet."""
    return os.environ.get("RANK", "0") == "0"
