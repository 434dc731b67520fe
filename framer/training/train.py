"""Train LoRA or control weights on a frozen base, with or without the FRAMER loss."""

import pkgutil
from collections.abc import Callable
from pathlib import Path

from framer.backbones.base import Backbone
from framer.backbones.registry import AUXILIARY, SETTINGS
from framer.backbones.trial import check_signatures, try_out
from framer.data.captions import training_prompts
from framer.provenance.hashing import derive_seed, digest
from framer.runs import run_dir
from framer.runs.runtime import seeded
from framer.study.jobs import TrainJob
from framer.training.accelerator import accelerated
from framer.training.checkpoint import Checkpoints, claimed
from framer.training.latent_cache import EncodedPairs
from framer.training.options import DEFAULT, Session
from framer.training.snapshot_writer import Snapshots
from framer.training.trainer import Task, Training


def train(
    job: TrainJob,
    base: Path,
    data: list[Path],
    out: Path,
    heldout: Path | None = None,
    session: Session = DEFAULT,
    encoded: Path | None = None,
) -> None:
    """Train a run, or resume an interrupted training; one that is already complete is restored at once.

    Args:
        job: its settings.
        base: folder of the base. The run keeps its relative path and hash, and needs it for restoring.
        data: folders of HR photographs.
        out: folder of the run: model.safetensors, config.json, log.csv, heldout.csv, card.json, run.json.
        heldout: folder of pairs (LR/, HR/) for the held-out loss, when the job asks for one.
        session: options that do not change the result.
        encoded: folder of `framer encode` with the same pairs; they are made on the fly without it.

    Raises:
        TrainingInterrupted: by a signal or a time limit; `out` has a checkpoint.
        UserError: base, data, settings or a checkpoint cannot be used, another trainer is in `out`, the loss diverges,
            or the FRAMER loss reaches no parameter.
    """
    steps = (*job.snapshots, sum(stage.steps for stage in job.stages.values()))
    with claimed(out, "run", steps, (base, *data, heldout, encoded)), accelerated(job, session) as accelerator:
        backbone, sha256 = run_dir.load_base(base, job.backbone, job.settings)
        third = job.backbone not in SETTINGS  # the tests cover those of this package
        if third:
            check_signatures(type(backbone))
        framer = pkgutil.resolve_name(AUXILIARY)(job.recipe) if job.recipe else None
        backbone.prompts = training_prompts(job.captions, data)
        cache = EncodedPairs(encoded, job, sha256, run_dir.data_digests(data)) if encoded else None
        if cache:
            backbone.remember(cache.prompt)

        prepare, (first, *_) = stages_of(job, backbone), job.stages

        def begin(stage: str) -> None:
            prepare(stage)
            if stage == first and third:
                try_out(backbone, framer, analysis=bool(job.snapshots))

        snapshots = Snapshots(out, job.snapshots)
        task = Task(
            job=job,
            backbone=backbone,
            begin=begin,
            batch_loss=lambda batch: backbone.training_loss(batch, framer),
            weights=backbone.adapter_state,
            data=data,
            heldout=heldout,
            out=out,
            encoded=cache,
            snapshots=snapshots,
            framer=framer,
        )
        same = run_dir.identity("train", job, data) | {"base": sha256, "captions": digest(dict(backbone.prompts))}
        checkpoints = Checkpoints(out, **same)
        logs = Training(task, session, checkpoints, accelerator).run()
        if accelerator.is_main_process:
            kept_of = ("code", "method", "captions") if job.captions else ("code", "method")
            made = {key: same[key] for key in kept_of if key in same}
            state, kept = backbone.adapter_state(), snapshots.publish()
            run_dir.save(out, "run", backbone, state, job, logs, data, made, (base, sha256), kept)
            checkpoints.delete()


def stages_of(job: TrainJob, backbone: Backbone) -> Callable[[str], None]:
    """Prepare a base for the stages of a job.

    Args:
        job: its stages and seeds, and the recipe, which needs heads where it reads layers.
        backbone: a base with its weights.

    Returns:
        A function that begins a stage; call it with each stage's name in order.
    """
    first, *_ = job.stages
    backbone.prepare(list(job.stages))

    def begin(stage: str) -> None:
        with seeded(derive_seed(job.seeds["init"], stage)):
            backbone.adapt(stage)
        if job.recipe and not job.recipe.external and stage == first:
            with seeded(derive_seed(job.seeds["init"], "heads")):
                backbone.add_heads(job.recipe.space)

    return begin
