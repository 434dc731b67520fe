"""Checkpoints of a training, in hidden folders beside the results, which Snakemake does not delete.

A checkpoint is one safetensors file with all that the rest of the training hangs on: weights, optimiser, averages, the
log so far, the stage and the step. There is no state of random generators in it, since none lives from one step to the
next. It is written under another name and renamed, so it is complete or not there; its name holds its sha256.

The last one of a finished training holds no more than its results are made of. Snakemake deletes the outputs of a job
before it runs it again: with this file they are written again at once, where nothing that they hang on has changed.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from framer.errors import UserError
from framer.provenance.hashing import sha256_file
from framer.provenance.lock import exclusive
from framer.training.launch import is_first_rank
from framer.training.options import Resume

FOLDER = ".unfinished"
FINISHED = ".finished"
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
    with exclusive(out / FOLDER) if is_first_rank() else nullcontext():
        yield


class Checkpoints:
    """The checkpoints of one run: up to two while it trains, and one afterwards.

    Args:
        out: folder of the run.
        identity: by what it is of, all that a checkpoint must share with the training that goes on from it.
    """

    def __init__(self, out: Path, **identity: str):
        self.folder, self.end, self.identity = out / FOLDER, out / FINISHED, identity

    def clean(self, resume: Resume) -> None:
        """Delete what a killed process left half-written, and the checkpoints that are not to be gone on from.

        For the owner of the lock alone.

        Raises:
            UserError: "previous", and there is no intact one before the latest.
        """
        for folder in (self.folder, self.end):
            (folder / _PART).unlink(missing_ok=True)
        for name in WRITTEN:
            for path in self.folder.parent.glob(f".{name}.*"):  # of `provenance.atomic`
                path.unlink()
        kept = _all(self.folder)
        if resume == "none":
            kept = []
            shutil.rmtree(self.end, ignore_errors=True)
        elif resume == "previous" and kept:
            latest = kept.pop()
            while kept and not _intact(kept[-1]):
                kept.pop()
            if not kept:
                raise UserError(
                    f"{self.folder}: no intact checkpoint before {latest.name}; start anew with --resume none"
                )
        for path in _all(self.folder):
            if path not in kept:
                path.unlink()

    def write(self, done: int, saved: Saved) -> Path:
        """Write a checkpoint and keep the one before it.

        Args:
            done: steps so far, over all stages.
            saved: what it holds.
        """
        return self._write(self.folder, done, saved, KEPT)

    def read(self) -> Saved | None:
        """The latest checkpoint of an unfinished training, or None where there is none.

        Raises:
            UserError: it is damaged, or of another training.
        """
        if not (found := _all(self.folder)):
            return None
        path = found[-1]
        anew = f"to start anew, run: {_rm('-r', self.folder)}; then start it again as before"
        if not _intact(path):
            raise UserError(
                f"{path}: damaged: its sha256 is not the one in its name; to go on from the one before it, run: "
                f"{_rm(path)}; {anew}"
            )
        identity = _about(path, anew)["identity"]
        names = sorted(self.identity.keys() | identity.keys())
        other = [name for name in names if self.identity.get(name) != identity.get(name)]
        if other:
            raise UserError(
                f"{path}: written with other {' and '.join(other)} than this training has; to go on from it, put that"
                f" back and start it again as before; {anew}"
            )
        return _read(path, anew)

    def finish(self, done: int, saved: Saved) -> None:
        """Keep what the results are made of, `saved`, in place of what an earlier training left."""
        self._write(self.end, done, saved, 1)

    def finished(self) -> Saved | None:
        """What `finish` kept of the very same training; None where there is nothing, or of another one.

        Raises:
            UserError: it is damaged.
        """
        for path in _all(self.end):
            anew = f"to train again, run: {_rm('-r', self.end)}; then start it again as before"
            if _about(path, anew)["identity"] == self.identity:
                if not _intact(path):
                    raise UserError(f"{path}: damaged: its sha256 is not the one in its name; {anew}")
                return _read(path, anew)
        return None

    def delete(self) -> None:
        """Delete the checkpoints of an unfinished training; it is finished, and its results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, folder: Path, done: int, saved: Saved, kept: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / _PART
        rows = torch.frombuffer(bytearray(json.dumps(saved.rows).encode()), dtype=torch.uint8)
        about = {"stage": saved.stage, "step": saved.step, "scaler": saved.scaler, "identity": self.identity}
        tensors = {name: tensor.detach().contiguous() for name, tensor in saved.tensors.items()}
        save_file({**tensors, _ROWS: rows}, part, {"framer": json.dumps(about)})
        _sync(part)
        path = part.rename(folder / f"{done:09d}-{sha256_file(part)}.safetensors")
        _sync(folder)
        # By name, since a training of other settings may have had more steps.
        for old in [other for other in _all(folder) if other != path][: -(kept - 1) or None]:
            old.unlink()
        return path


def _all(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _about(path: Path, anew: str) -> dict[str, Any]:
    """What a checkpoint says of itself, without its tensors; `anew` is what to do where it says nothing."""
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["framer"])
        return {key: about[key] for key in ("stage", "step", "scaler", "identity")}
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: damaged, or no checkpoint of this version; {anew}") from None


def _read(path: Path, anew: str) -> Saved:
    about = _about(path, anew)
    tensors = load_file(path)
    rows = json.loads(bytes(tensors.pop(_ROWS).numpy()))
    return Saved(about["stage"], about["step"], rows, tensors, about["scaler"])


def _rm(*arguments: str | Path) -> str:
    return shlex.join(["rm", *map(str, arguments)])


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
