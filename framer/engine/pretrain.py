"""Pretrain a tiny base from random weights: the stand-in for the published model that a backbone starts from."""

from pathlib import Path

from framer.backbones import create
from framer.engine import checkpoint
from framer.engine.loop import run_stages
from framer.engine.runtime import deterministic, seeded
from framer.study import PretrainJob


def pretrain(job: PretrainJob, data: list[Path], out: Path, heldout: Path | None = None, progress: bool = True) -> None:
    """Write a base.

    Args:
        job: the settings.
        data: folders of HR photographs.
        out: folder of the base: model.safetensors, config.json, log.csv, heldout.csv, card.json.
        heldout: folder of pairs (LR/, HR/) for the held-out loss, when the job asks for one.
        progress: show a bar.

    Raises:
        UserError: data or settings that cannot be used, or the loss diverges.
    """
    deterministic(job.threads)
    with seeded(job.seeds["init"]):
        backbone = create(job.backbone, job.base, job.settings)
    logs = run_stages(backbone, job, lambda _: None, backbone.pretraining_loss, data, out, heldout, progress)
    checkpoint.save(out, "base", backbone, backbone.base_state(), job, logs, data)
