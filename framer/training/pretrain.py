"""Pretrain a tiny base from random weights: the stand-in for the published model that a backbone starts from."""

from pathlib import Path

from framer.backbones.registry import create
from framer.runs import run_dir
from framer.runs.runtime import seeded
from framer.study.jobs import PretrainJob
from framer.training.accelerator import accelerated
from framer.training.checkpoint import Checkpoints, claimed
from framer.training.options import DEFAULT, Session
from framer.training.trainer import Task, Training


def pretrain(
    job: PretrainJob, data: list[Path], out: Path, heldout: Path | None = None, session: Session = DEFAULT
) -> None:
    """Train a base, or resume an interrupted training; one that is already complete is restored at once.

    Args:
        job: its settings.
        data: folders of HR photographs.
        out: folder of the base: model.safetensors, config.json, log.csv, heldout.csv, card.json, run.json.
        heldout: folder of pairs (LR/, HR/) for the held-out loss, when the job asks for one.
        session: options that do not change the result.

    Raises:
        TrainingInterrupted: by a signal or a time limit; `out` has a checkpoint.
        UserError: data, settings or a checkpoint cannot be used, another trainer is in `out`, or the loss diverges.
    """
    with claimed(out, "base", (), (*data, heldout)), accelerated(job, session) as accelerator:
        with seeded(job.seeds["init"]):
            backbone = create(job.backbone, job.base, job.settings)
        task = Task(
            job=job,
            backbone=backbone,
            begin=lambda _: None,
            batch_loss=backbone.pretraining_loss,
            weights=backbone.base_state,
            data=data,
            heldout=heldout,
            out=out,
        )
        same = run_dir.identity("pretrain", job, data)
        checkpoints = Checkpoints(out, **same)
        logs = Training(task, session, checkpoints, accelerator).run()
        if accelerator.is_main_process:
            made = {"code": same["code"]}
            run_dir.save(out, "base", backbone, backbone.base_state(), job, logs, data, made)
            checkpoints.delete()
