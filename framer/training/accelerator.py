"""Device, ranks, precision and trackers of a training, through accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from framer.errors import UserError, one_line
from framer.runs.runtime import deterministic
from framer.study.jobs import PretrainJob, TrainJob
from framer.training.launch import isolate
from framer.training.options import DEFAULT, Session

MIXED = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}


@contextmanager
def accelerated(job: PretrainJob, session: Session = DEFAULT) -> Iterator[Accelerator]:
    """Device, ranks, precision and trackers of a training, for a block. Tiny bases train on CPUs, whatever there is.

    A process is one of several only where `framer.training.launch` started it.

    Raises:
        UserError: torchrun started this process by itself, or accelerate lacks a tracker or the precision.
    """
    isolate()
    AcceleratorState._reset_state(True)  # accelerate refuses a second precision or group in one process otherwise
    tracked = session.tracking and session.trackers
    logging = {"log_with": list(session.trackers), "project_dir": session.tracking} if tracked else {}
    # No buffer changes in training, and DiT4SR's table of positions is half a gigabyte. The loss of a base does not
    # reach all of it: not the text's stream at the end of a transformer.
    unused = not isinstance(job, TrainJob)
    ranks = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=unused)
    precision = MIXED[job.numerics.precision]
    try:
        accelerator = Accelerator(cpu=job.base == "tiny", mixed_precision=precision, kwargs_handlers=[ranks], **logging)
    except (ValueError, ImportError) as error:
        about = f"{', '.join(session.trackers)}: " if tracked else ""
        key = "trackers" if tracked else "numerics.precision"
        raise UserError(f"{about}{one_line(error)}", path=session.study, key=key) from None
    deterministic(job.threads, job.numerics.deterministic)  # last: accelerate sets the threads, too
    try:
        yield accelerator
    finally:
        accelerator.end_training()
