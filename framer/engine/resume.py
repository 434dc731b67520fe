"""Checkpoints of an unfinished training, in a hidden folder beside the results, which Snakemake does not delete.

A checkpoint is one safetensors file with all that the rest of the training hangs on: weights, optimiser, averages, the
log so far, the stage and the step. There is no state of random generators in it, since none lives from one step to the
next. It is written under another name and renamed, so it is complete or not there; its name holds its sha256.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from framer.engine.lock import exclusive
from framer.engine.runtime import is_first
from framer.engine.session import Resume
from framer.errors import UserError
from framer.provenance import sha256_file

FOLDER = ".unfinished"
KEPT = 2
WRITTEN = ("model.safetensors", "config.json", "log.csv", "heldout.csv", "card.json", "run.json")
"""What a finished run or base consists of."""
_NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.safetensors")
_PART = "part"
_ROWS = "rows"


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        stage, step: where training goes on: the first step that is still to be made.
        rows: of the log so far, as JSON-able values: {"log": [...], "heldout": [...]}.
        tensors: weights, optimiser and averages by name.
        scaler: state of the fp16 loss scaler, if there is one.
    """

    stage: str
    step: int
    rows: dict[str, list[dict[str, Any]]]
    tensors: dict[str, Tensor]
    scaler: dict[str, Any]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        start = f"{prefix}/"
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep other trainers out of a run's folder for a block. The first of those that train together has it."""
    with exclusive(out / FOLDER) if is_first() else nullcontext():
        yield


class Unfinished:
    """The checkpoints of one run.

    Args:
        out: folder of the run.
        identity: by what it is of, all that a checkpoint must share with the training that goes on from it.
    """

    def __init__(self, out: Path, **identity: str):
        self.folder, self.identity = out / FOLDER, identity

    def clean(self, resume: Resume) -> None:
        """Delete what a killed process left half-written, and the checkpoints that are not to be gone on from.

        For the owner of the lock alone.

        Raises:
            UserError: "previous", and there is no intact one before the latest.
        """
        (self.folder / _PART).unlink(missing_ok=True)
        for name in WRITTEN:
            for path in self.folder.parent.glob(f".{name}.*"):  # of `provenance.atomic`
                path.unlink()
        kept = self._all()
        if resume == "none":
            kept = []
        elif resume == "previous" and kept:
            latest = kept.pop()
            while kept and not _intact(kept[-1]):
                kept.pop()
            if not kept:
                raise UserError(
                    f"{self.folder}: no intact checkpoint before {latest.name}; start anew with --resume none"
                )
        for path in self._all():
            if path not in kept:
                path.unlink()

    def write(self, done: int, saved: Saved) -> Path:
        """Write a checkpoint and keep the one before it.

        Args:
            done: steps so far, over all stages.
            saved: what it holds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / _PART
        rows = torch.frombuffer(bytearray(json.dumps(saved.rows).encode()), dtype=torch.uint8)
        about = {"stage": saved.stage, "step": saved.step, "scaler": saved.scaler, "identity": self.identity}
        tensors = {name: tensor.detach().contiguous() for name, tensor in saved.tensors.items()}
        save_file({**tensors, _ROWS: rows}, part, {"framer": json.dumps(about)})
        _sync(part)
        path = part.rename(self.folder / f"{done:09d}-{sha256_file(part)}.safetensors")
        _sync(self.folder)
        for old in self._all()[:-KEPT]:
            old.unlink()
        return path

    def read(self) -> Saved | None:
        """The latest checkpoint, or None where there is none.

        Raises:
            UserError: it is damaged, or of another training.
        """
        found = self._all()
        return self._read(found[-1]) if found else None

    def delete(self) -> None:
        """Delete all checkpoints and the folder; the training is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def _read(self, path: Path) -> Saved:
        ways = "go on from the one before it with --resume previous, or start anew with --resume none"
        if not _intact(path):
            raise UserError(f"{path}: damaged: its sha256 is not the one in its name; {ways}")
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["framer"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, KeyError, TypeError, ValueError):
            raise UserError(f"{path}: no checkpoint of this version; start anew with --resume none") from None
        found = about["identity"]
        names = sorted(self.identity.keys() | found.keys())
        other = [name for name in names if self.identity.get(name) != found.get(name)]
        if other:
            raise UserError(
                f"{path}: written with other {' and '.join(other)} than this training has; put that back to go on,"
                " or start anew with --resume none"
            )
        rows = json.loads(bytes(tensors.pop(_ROWS).numpy()))
        return Saved(about["stage"], about["step"], rows, tensors, about["scaler"])


def _intact(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    return match is not None and sha256_file(path) == match[2]


def _sync(path: Path) -> None:
    """Wait until the disk has it: a node that loses power must not leave a name without its bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
