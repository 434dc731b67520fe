"""Training pairs from a cache of `framer.training.encode`, in place of images."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from framer.errors import UserError
from framer.provenance.cards import CARD, read_card, verify_payload
from framer.provenance.hashing import canonical
from framer.study.jobs import PretrainJob

SHARD = 64
"""Pairs or prompts per file."""

PAIRS, PROMPTS = "pairs.csv", "prompts.json"


def shard_name(kind: str, number: int) -> str:
    """The file name of a shard."""
    return f"{kind}-{number:05d}.safetensors"


class EncodedPairs:
    """Encoded pairs by number and prompts by text, read from disk on demand."""

    def __init__(self, folder: Path, job: PretrainJob, base: str, data: dict[str, str]):
        """
        Args:
            folder: the cache. Its lists are hashed here; a shard when it is opened first.
            job: the training; its pairs must be those of the cache.
            base: identity of the base's weights, as in a card.
            data: identity of the training images, as in a card.

        Raises:
            UserError: the cache is incomplete, damaged, or made from other pairs.
        """
        card = read_card(folder, "encoded")
        stages = {stage.crop for stage in job.stages.values()}
        try:
            made = card["job"]
            same = {
                "data": (card["data"], data),
                "base": (card["base"], base),
                "pairs": (made["data"], json.loads(canonical(job.as_dict()["data"]))),
                "crop": ({made["crop"]}, stages),
                "precision": (made["precision"], job.numerics.precision),
            }
        except (KeyError, TypeError) as error:
            raise UserError(f"incomplete ({error}); encode again", path=folder / CARD, code="unreadable") from None
        for key, (cached, wanted) in same.items():
            if cached != wanted:
                raise UserError(
                    "encoded with a different value than this training has; encode again",
                    path=folder,
                    key=key,
                    code="mismatch",
                )
        self.folder, self._hashes = folder, card["payload"]
        for name in (PAIRS, PROMPTS):
            self._verify(name)
        with (folder / PAIRS).open(newline="", encoding="utf-8") as file:
            self._names = [row["photograph"] for row in csv.DictReader(file)]
        prompts = json.loads((folder / PROMPTS).read_text(encoding="utf-8"))
        self._prompts = {prompt: number for number, prompt in enumerate(prompts)}
        self._open: dict[str, Any] = {}

    def batch(self, numbers: Sequence[int]) -> tuple[tuple[str, ...], dict[str, Tensor]]:
        """Some pairs: photographs as SET/STEM, and tensors (B, ...)."""
        rows = [self._row("pairs", number) for number in numbers]
        return tuple(self._names[k] for k in numbers), {key: torch.stack([row[key] for row in rows]) for key in rows[0]}

    def prompt(self, text: str) -> dict[str, Tensor] | None:
        """The embedding of a filtered caption; None when it is missing."""
        number = self._prompts.get(text)
        return None if number is None else self._row("prompts", number)

    def _row(self, kind: str, number: int) -> dict[str, Tensor]:
        shard = self._shard(shard_name(kind, number // SHARD))
        return {key: shard.get_slice(key)[number % SHARD] for key in shard.keys()}  # noqa: SIM118

    def _shard(self, name: str) -> Any:
        if name not in self._open:
            self._verify(name)
            self._open[name] = safe_open(self.folder / name, framework="pt").__enter__()
        return self._open[name]

    def _verify(self, name: str) -> None:
        verify_payload(self.folder, {"payload": {name: self._hashes[name]}})


@dataclass(frozen=True)
class EncodedStream:
    """Encoded pairs in the order of a training, in place of `TrainingPairs`."""

    pairs: EncodedPairs
    order: Callable[[int], int]

    def batch(self, step: int, size: int) -> tuple[tuple[str, ...], Tensor, Tensor, dict[str, Tensor]]:
        """As `TrainingPairs.batch`, with empty images and their encodings."""
        stems, encoded = self.pairs.batch([self.order(step * size + i) for i in range(size)])
        nothing = torch.empty(size, 3, 0, 0)
        return stems, nothing, nothing, encoded
