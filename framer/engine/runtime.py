"""The state of torch that decides bytes: threads, deterministic kernels, seeds."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def deterministic(threads: int) -> None:
    """Make equal inputs give equal bytes, for this process.

    Args:
        threads: CPU threads; part of the result, since they order the sums.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's default generator for a block, and put it back afterwards. For libraries that take no generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
