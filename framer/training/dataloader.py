"""The stream of training batches: the pairs and the random numbers of each step and each rank.

They are a function of the seeds and the number of a sample, whatever the number of ranks and of data workers. With
B samples per rank, rank r of R computes the samples (n R + r) B to (n R + r + 1) B - 1 of micro-batch n; sample k has
the pair and the generator of number k.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from framer.backbones.base import Batch
from framer.backbones.random import Draws, generator
from framer.data.pairs import TrainingPairs, endless
from framer.errors import UserError
from framer.study.jobs import TrainingData
from framer.study.schema import Optimisation
from framer.training.latent_cache import EncodedStream

Pairs = tuple[tuple[str, ...], torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor] | None]


def training_pairs(
    data: TrainingData, folders: list[Path], crop: int, seed: int, order: Callable[[int], int] = endless
) -> TrainingPairs:
    """The pairs that a job asks for, made on the fly; see `TrainingPairs`."""
    return TrainingPairs(folders, crop, data.degradation, seed, order, crops=data.crops, augmentation=data.augmentation)


class Batches(Dataset[Pairs]):
    """One rank's part of every micro-batch of a stage.

    Args:
        pairs: the stage's stream of pairs or of their encodings.
        settings: the stage's.
        seeds: for the streams "noise" and "negatives".
        rank, ranks: this process and their number.

    Raises:
        UserError: the batch cannot be split evenly.
    """

    def __init__(
        self,
        pairs: TrainingPairs | EncodedStream,
        settings: Optimisation,
        seeds: Mapping[str, int],
        rank: int = 0,
        ranks: int = 1,
    ):
        parts = ranks * settings.accumulate
        if settings.batch % parts:
            raise UserError(
                f"{settings.batch} cannot be split over {ranks} GPUs with accumulate {settings.accumulate};"
                f" use a multiple of {parts}, or another number of GPUs",
                key="batch",
            )
        self.pairs, self.seeds, self.rank, self.ranks = pairs, seeds, rank, ranks
        self.size = settings.batch // parts

    def __getitem__(self, micro: int) -> Pairs:
        stems, lr, hr, *encoded = self.pairs.batch(micro * self.ranks + self.rank, self.size)
        return stems, lr, hr, encoded[0] if encoded else None

    def batch(self, micro: int, pairs: Pairs | None = None) -> Batch:
        """This rank's part of a micro-batch; the negatives' generator is the same on all ranks."""
        stems, lr, hr, encoded = pairs or self[micro]
        first = (micro * self.ranks + self.rank) * self.size
        samples = tuple(generator(self.seeds["noise"], first + i) for i in range(self.size))
        return Batch(lr, hr, stems, Draws(samples, generator(self.seeds["negatives"], micro)), encoded)

    def stream(self, first: int, stop: int, workers: int) -> Iterator[Batch]:
        """This rank's parts of micro-batches `first` to `stop` - 1, prepared ahead by worker processes if any."""
        numbers = range(first, stop)
        if not workers:
            yield from (self.batch(micro) for micro in numbers)
            return
        loader: DataLoader[Pairs] = DataLoader(
            self,
            batch_size=None,
            sampler=numbers,
            num_workers=workers,
            collate_fn=tuple,  # as it is
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),
        )
        for micro, pairs in zip(numbers, loader, strict=True):
            yield self.batch(micro, pairs)


def _ignore_signals(_: int) -> None:
    """Ignore SIGTERM and SIGINT in data workers; the trainer handles them after the current step."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def workers(device: torch.device) -> int:
    """Data workers of this rank: beside a GPU its share of the job's CPUs but one; none where training needs those."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(os.sched_getaffinity(0)) // beside - 1) if device.type == "cuda" else 0
