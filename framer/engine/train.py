"""Train LoRA or control weights on a frozen base, with or without the FRAMER loss."""

from pathlib import Path

from framer.engine import checkpoint
from framer.engine.loop import run_stage
from framer.engine.runtime import deterministic, seeded
from framer.errors import UserError
from framer.method.loss import FramerLoss
from framer.method.recipe import Recipe
from framer.provenance import derive_seed
from framer.study import TrainJob


def train(
    job: TrainJob, base: Path, data: list[Path], out: Path, heldout: Path | None = None, progress: bool = True
) -> None:
    """Write a run.

    Args:
        job: the settings.
        base: folder of the base. The run keeps its relative path and hash, and needs it for restoring.
        data: folders of HR photographs.
        out: folder of the run: model.safetensors, config.json, log.csv, heldout.csv, card.json.
        heldout: folder of pairs (LR/, HR/) for the held-out loss, when the job asks for one.
        progress: show a bar.

    Raises:
        UserError: base, data or settings that cannot be used, or the loss diverges.
    """
    deterministic(job.threads)
    backbone, sha256 = checkpoint.load_base(base)
    if backbone.name != job.backbone:
        raise UserError(f"{base}: a base of {backbone.name}, where one of {job.backbone} is needed")
    with seeded(job.seeds["init"]):
        backbone.adapt()
    framer = FramerLoss(Recipe.named(job.recipe)) if job.recipe else None
    if framer:
        with seeded(derive_seed(job.seeds["init"], "heads")):
            backbone.add_heads()

    logs = run_stage(
        backbone,
        "run",
        lambda lr, hr, draws: backbone.training_loss(lr, hr, draws, framer),
        job,
        data,
        out,
        heldout,
        progress,
    )
    checkpoint.save(out, "run", backbone, backbone.adapter_state(), job, logs, data, base=(base, sha256))
