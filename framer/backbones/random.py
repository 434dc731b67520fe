"""Random numbers on the CPU, from one generator per source of randomness."""

from dataclasses import dataclass

import torch
from torch import Tensor

from framer.provenance.hashing import derive_seed


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch: one generator per sample, and one shared by the batch.

    Sample k of a stream always gets the generator of (seed, k), so the numbers depend neither on the batch size nor on
    the order in which samples are processed.
    """

    samples: tuple[torch.Generator, ...]
    shared: torch.Generator

    @classmethod
    def of_step(cls, noise: int, negatives: int, step: int, batch: int) -> "Draws":
        """Create the draws of a training step from the seeds of the streams "noise" and "negatives"."""
        samples = tuple(generator(noise, step * batch + i) for i in range(batch))
        return cls(samples, generator(negatives, step))

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers, (B, *shape) float32."""
        return torch.stack([torch.randn(shape, generator=g) for g in self.samples])

    def uniform(self) -> Tensor:
        """Draw uniform numbers in [0, 1), (B,) float32."""
        return torch.cat([torch.rand(1, generator=g) for g in self.samples])


def generator(seed: int, *axes: str | int) -> torch.Generator:
    """Create a CPU generator for one source of randomness; see `framer.provenance.hashing.derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(seed, *axes))
