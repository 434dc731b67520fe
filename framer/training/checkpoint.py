"""Checkpoints of a training, in hidden folders beside the results, which Snakemake does not delete.

A checkpoint is one safetensors file with the complete state of a training: weights, optimizer, averages, the log so
far, the stage and the step. It has no state of random generators, since none lives from one step to the next. It is
written under a temporary name and renamed, so that it is complete; its name contains its sha256.

The last one of a finished training holds the results only. Snakemake deletes the outputs of a job before it runs it
again: with this file they are restored at once, where none of their inputs has changed.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from framer.backbones.loading import write_tensors
from framer.errors import UserError
from framer.provenance import output
from framer.provenance.files import left_behind
from framer.provenance.hashing import sha256_file
from framer.runs.snapshots import SNAPSHOTS, adapter_file, heads_file
from framer.training.launch import is_first_rank
from framer.training.options import Resume

FOLDER = ".unfinished"
FINISHED = ".finished"
KEPT = 2
WRITTEN = ("model.safetensors", "config.json", "log.csv", "heldout.csv", "card.json", "run.json")
"""The files of a finished run or base."""
_NAME = re.compile(r"(\d{9})-([0-9a-f]{64})\.safetensors")
_PART = "part"
_ROWS = "rows"


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint.

    Attributes:
        stage, step: where training resumes: the first step that is not done.
        rows: the log so far, as JSON-able values: {"log": [...], "heldout": [...]}.
        tensors: weights, optimizer and averages by name.
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
def claimed(out: Path, kind: str, steps: Iterable[int], inputs: Iterable[Path | None]) -> Iterator[None]:
    """Hold the folder of a run or base for a block. The first of the processes that train together holds it.

    Args:
        out: the folder.
        kind: "run" or "base".
        steps: after which snapshots are kept.
        inputs: files and folders that are read.

    Raises:
        UserError: as `framer.provenance.output.claimed`.
    """
    if not is_first_rank():
        yield
        return
    kept = {f"{SNAPSHOTS}/{name(step)}" for step in steps for name in (adapter_file, heads_file)}
    # What Snakemake leaves of a finished run whose card it has deleted.
    left = {f"{SNAPSHOTS}/{path.name}" for path in (out / FINISHED / SNAPSHOTS).glob("*")}
    known = {*WRITTEN, *left} if (out / FINISHED).is_dir() or (out / FOLDER).is_dir() else set()
    with output.claimed(out, kind, names=(*WRITTEN, *sorted(kept)), known=known, inputs=inputs):
        yield


class Checkpoints:
    """The checkpoints of one run: up to two while it trains, and one afterwards.

    Args:
        out: folder of the run.
        identity: digests that a checkpoint must share with the training that resumes from it, by what they cover.
    """

    def __init__(self, out: Path, **identity: str):
        self.folder, self.end, self.identity = out / FOLDER, out / FINISHED, identity

    def clean(self, resume: Resume) -> None:
        """Delete files that a killed process left half-written, and checkpoints that are not to be resumed.

        For the owner of the lock alone.

        Raises:
            UserError: "previous", and there is no intact checkpoint before the latest.
        """
        for folder in (self.folder, self.end):
            (folder / _PART).unlink(missing_ok=True)
        for name in WRITTEN:
            for path in left_behind(self.folder.parent / name):
                path.unlink(missing_ok=True)
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
                    f"no intact checkpoint before {latest.name}; start over with --resume none",
                    path=self.folder,
                    code="missing",
                )
        for path in _all(self.folder):
            if path not in kept:
                path.unlink()

    def write(self, done: int, saved: Saved) -> Path:
        """Write a checkpoint and keep the one before it.

        Args:
            done: steps so far, over all stages.
            saved: its content.
        """
        return self._write(self.folder, done, saved, KEPT)

    def read(self) -> Saved | None:
        """The latest checkpoint of an unfinished training, or None where there is none.

        Raises:
            UserError: it is damaged, or belongs to another training.
        """
        if not (found := _all(self.folder)):
            return None
        path = found[-1]
        over = f"to start over, run: {_rm('-r', self.folder)}; then repeat the command"
        if not _intact(path):
            raise UserError(
                f"damaged: its sha256 differs from its name; to resume from the one before, run: {_rm(path)}; {over}",
                path=path,
                code="unreadable",
            )
        identity = _about(path, over)["identity"]
        names = sorted(self.identity.keys() | identity.keys())
        other = [name for name in names if self.identity.get(name) != identity.get(name)]
        if other:
            raise UserError(
                f"checkpoint was created with different {' and '.join(other)}; restore that to resume; {over}",
                path=path,
                code="changed",
            )
        return _read(path, over)

    def finish(self, done: int, saved: Saved) -> None:
        """Keep the results, `saved`, in place of those of an earlier training."""
        self._write(self.end, done, saved, 1)

    def finished(self) -> Saved | None:
        """The results of an identical training that `finish` kept, or None.

        Raises:
            UserError: it is damaged.
        """
        for path in _all(self.end):
            over = f"to train again, run: {_rm('-r', self.end)}; then repeat the command"
            if _about(path, over)["identity"] == self.identity:
                if not _intact(path):
                    raise UserError(f"damaged: its sha256 differs from its name; {over}", path=path, code="unreadable")
                return _read(path, over)
        return None

    def delete(self) -> None:
        """Delete the checkpoints of a training that is finished and whose results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, folder: Path, done: int, saved: Saved, kept: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / _PART
        rows = torch.frombuffer(bytearray(json.dumps(saved.rows).encode()), dtype=torch.uint8)
        about = {"stage": saved.stage, "step": saved.step, "scaler": saved.scaler, "identity": self.identity}
        write_tensors(part, {**saved.tensors, _ROWS: rows}, {"framer": json.dumps(about)})
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


def _about(path: Path, over: str) -> dict[str, Any]:
    """Stage, step, scaler and identity of a checkpoint, without its tensors; `over`: how to start over."""
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["framer"])
        return {key: about[key] for key in ("stage", "step", "scaler", "identity")}
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        raise UserError(f"damaged, or no checkpoint of this version; {over}", path=path, code="unreadable") from None


def _read(path: Path, over: str) -> Saved:
    about = _about(path, over)
    tensors = load_file(path)
    rows = json.loads(bytes(tensors.pop(_ROWS).numpy()))
    return Saved(about["stage"], about["step"], rows, tensors, about["scaler"])


def _rm(*arguments: str | Path) -> str:
    return shlex.join(["rm", *map(str, arguments)])


def _intact(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    return match is not None and sha256_file(path) == match[2]


def _sync(path: Path) -> None:
    """Flush to disk: a node that loses power must not leave a name without its bytes."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
