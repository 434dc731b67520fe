"""Train LoRA or control weights on a frozen base, with or without the FRAMER loss."""

from pathlib import Path

from framer.engine import checkpoint
from framer.engine.loop import run_stages
from framer.engine.runtime import deterministic, seeded
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
    backbone, sha256 = checkpoint.load_base(base, job.backbone, job.settings)
    framer = FramerLoss(Recipe.named(job.recipe)) if job.recipe else None
    first, *_ = job.stages

    def begin(stage: str) -> None:
        with seeded(derive_seed(job.seeds["init"], stage)):
            backbone.adapt(stage)
        if framer and stage == first:
            with seeded(derive_seed(job.seeds["init"], "heads")):
                backbone.add_heads()

    logs = run_stages(
        backbone, job, begin, lambda batch: backbone.training_loss(batch, framer), data, out, heldout, progress
    )
    checkpoint.save(out, "run", backbone, backbone.adapter_state(), job, logs, data, base=(base, sha256))
