"""Snapshots of the trained weights at some steps of a training, for analyses.

They are kept in the hidden folders of the run's checkpoints, which Snakemake does not delete, and in `snapshots/`
beside the weights of a finished run:

    step-N.safetensors     the weights of a run of N steps with the same schedule, to the byte
    heads-N.safetensors    FRAMER's heads at that step, where the backbone has some; also at the end of the run
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from framer.backbones.base import Backbone
from framer.backbones.loading import write_tensors
from framer.errors import UserError
from framer.provenance.files import atomic
from framer.provenance.hashing import sha256_file
from framer.runs.snapshots import SNAPSHOTS, adapter_file, heads_file
from framer.training.checkpoint import FINISHED, FOLDER


class Snapshots:
    """The snapshots of one training.

    Args:
        out: folder of the run.
        steps: after which steps, counted over all stages; there may be none.
    """

    def __init__(self, out: Path, steps: tuple[int, ...]):
        self.out, self.steps = out, steps
        self.folder, self.end = out / FOLDER / SNAPSHOTS, out / FINISHED / SNAPSHOTS

    def clear(self) -> None:
        """Delete the snapshots of a training that is not resumed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self, step: int, backbone: Backbone) -> None:
        """Write the snapshot of a step. Call it before the checkpoint of that step, which depends on it."""
        self._write(adapter_file(step), backbone.adapter_state(), backbone)
        self._take_heads(step, backbone)

    def finish(self, step: int, backbone: Backbone) -> None:
        """Copy all snapshots, and the heads after the last step, to the files that restore a finished run."""
        if self.steps:
            self._take_heads(step, backbone)
            _copy(self.folder, self.end)

    def _take_heads(self, step: int, backbone: Backbone) -> None:
        if heads := dict(backbone.heads.state_dict()):
            self._write(heads_file(step), heads, backbone)

    def check(self, done: int) -> None:
        """Check that the snapshots of all steps up to `done` exist, before a training resumes.

        Raises:
            UserError: one is missing.
        """
        for step in self.steps:
            path = self.folder / adapter_file(step)
            if step <= done and not path.is_file():
                raise UserError(
                    f"missing, although step {done} is done; start over with --resume none", path=path, code="missing"
                )

    def publish(self) -> dict[str, str]:
        """Replace `snapshots/` of the finished run; returns the sha256 of each file."""
        folder = self.out / SNAPSHOTS
        shutil.rmtree(folder, ignore_errors=True)
        names = _copy(self.end, folder) if self.steps else []
        return {name: sha256_file(folder / name) for name in names}

    def _write(self, name: str, state: Mapping[str, Tensor], backbone: Backbone) -> None:
        with atomic(self.folder / name) as part:
            write_tensors(part, state, backbone.metadata)


def _copy(source: Path, folder: Path) -> list[str]:
    """Replace a folder by a copy of another's files."""
    shutil.rmtree(folder, ignore_errors=True)
    names = sorted(path.name for path in source.glob("[!.]*"))
    for name in names:
        with atomic(folder / name) as part:
            shutil.copyfile(source / name, part)
    return names
