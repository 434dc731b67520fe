"""Settings of the process on which the bytes of a result depend: threads, kernels, seeds, device."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import torch

from framer.errors import UserError

if TYPE_CHECKING:
    from framer.backbones.base import Backbone

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def deterministic(threads: int, exact: bool = True) -> None:
    """Make equal inputs give equal bytes, for this process.

    Args:
        threads: CPU threads, 1 to 1024; part of the result, since they order the sums.
        exact: only kernels that give the same bits again; only GPUs have others.

    Raises:
        UserError: OMP_THREAD_LIMIT in the environment allows fewer threads.
    """
    limit = os.environ.get("OMP_THREAD_LIMIT", "")
    if limit.isdecimal() and int(limit) < threads:
        message = f"{limit} is below the {threads} CPU threads of this job; unset it, or lower threads"
        raise UserError(message, key="OMP_THREAD_LIMIT", code="conflict")
    torch.set_num_threads(threads)
    _warn_of_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when a GPU is first used
    # use_deterministic_algorithms would import torch.compile's modules, seconds of each start, to set them as well.
    torch.set_deterministic_debug_mode("error" if exact else "default")
    torch.backends.cudnn.benchmark = not exact


@cache  # once per process
def _warn_of_threads(threads: int) -> None:
    if threads > (cores := os.cpu_count() or threads):
        print(f"framer: warning: {threads} CPU threads on {cores} cores are slow", file=sys.stderr)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's default generator for a block and restore it afterwards. For libraries that take no generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def device_for(model: "Backbone") -> str:
    """The device of a model: a GPU where there is one, but CPUs for a tiny model."""
    return "cuda" if torch.cuda.is_available() and not model.tiny else "cpu"


def peak_bytes() -> int:
    """Peak memory of tensors on the GPU since it was last reset, or of this process on the machine; bytes."""
    taken = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    return taken or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
