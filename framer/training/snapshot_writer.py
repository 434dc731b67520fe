"""What trains, kept as it is at some moments of a training, for analyses.

They lie in the hidden folders of the run's checkpoints, which Snakemake does not delete, and when the run is done in
`snapshots/` beside its weights, too:

    step-N.safetensors     what a run of N steps with the same schedule would hold, to the byte
    heads-N.safetensors    FRAMER's heads at that step, where the backbone has some; also at the end of the run
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from framer.backbones.base import Backbone
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
        """Forget those of a training that is not gone on from."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def take(self, step: int, backbone: Backbone) -> None:
        """Keep what trains after a step. A checkpoint of that step is written later: it needs this one."""
        self._write(adapter_file(step), backbone.adapter_state(), backbone)
        self._take_heads(step, backbone)

    def finish(self, step: int, backbone: Backbone) -> None:
        """Keep them, and the heads after the last step, with what the results of the run are made of again."""
        if self.steps:
            self._take_heads(step, backbone)
            _copy(self.folder, self.end)

    def _take_heads(self, step: int, backbone: Backbone) -> None:
        if heads := dict(backbone.heads.state_dict()):
            self._write(heads_file(step), heads, backbone)

    def check(self, done: int) -> None:
        """Make sure that those of the steps that are done are there, before a training goes on.

        Raises:
            UserError: one is missing.
        """
        for step in self.steps:
            if step <= done and not (self.folder / adapter_file(step)).is_file():
                raise UserError(
                    f"{self.folder / adapter_file(step)}: not there, though step {done} is done; start anew with"
                    " --resume none"
                )

    def publish(self) -> dict[str, str]:
        """Copy them beside the finished run, and give the sha256 of each; none of an earlier run stay."""
        folder = self.out / SNAPSHOTS
        shutil.rmtree(folder, ignore_errors=True)
        names = _copy(self.end, folder) if self.steps else []
        return {name: sha256_file(folder / name) for name in names}

    def _write(self, name: str, state: Mapping[str, Tensor], backbone: Backbone) -> None:
        with atomic(self.folder / name) as part:
            save_file({key: value.detach().contiguous() for key, value in state.items()}, part, backbone.metadata)


def _copy(source: Path, folder: Path) -> list[str]:
    """Make a folder hold the files of another, and no more."""
    shutil.rmtree(folder, ignore_errors=True)
    names = sorted(path.name for path in source.glob("[!.]*"))
    for name in names:
        with atomic(folder / name) as part:
            shutil.copyfile(source / name, part)
    return names
