"""The one training loop: the stages of a job one after the other, logged, interrupted and resumed."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

from framer.backbones.base import Backbone
from framer.backbones.state_dict import load_exactly
from framer.data.pairs import Epochs, TrainingPairs, endless
from framer.errors import TrainingInterrupted
from framer.provenance.cards import CARD
from framer.provenance.hashing import derive_seed
from framer.runs.runtime import DTYPES
from framer.study.jobs import PretrainJob
from framer.study.schema import Optimisation
from framer.training import divergence
from framer.training.checkpoint import Checkpoints, Saved
from framer.training.dataloader import Batches, training_pairs, workers
from framer.training.latent_cache import EncodedPairs, EncodedStream
from framer.training.log import Bar, Row, Trackers, write_csv
from framer.training.optimizer_step import BatchLoss, Stepper, on
from framer.training.options import Session
from framer.training.preemption import SlurmJob, Stop
from framer.training.reach import reaches, unreached
from framer.training.snapshot_writer import Snapshots
from framer.training.usage import Spent
from framer.training.validation import heldout_loss

if TYPE_CHECKING:
    from framer.method.auxiliary import Auxiliary


@dataclass(frozen=True)
class Task:
    """A model, its loss and its data.

    Attributes:
        job: the settings.
        backbone: the model; its weights change in place.
        begin: called with a stage's name before it starts; makes the stage's parameters trainable.
        batch_loss: the loss that a step minimises.
        weights: the tensors to keep, by name; they are trained in place.
        data: folders of HR photographs.
        heldout: folder of pairs for the held-out loss.
        out: folder of log.csv and heldout.csv.
        encoded: the pairs, encoded earlier, in place of the photographs.
        snapshots: weights to keep during the training.
        framer: the distillation loss within `batch_loss`; None in a baseline.
    """

    job: PretrainJob
    backbone: Backbone
    begin: Callable[[str], None]
    batch_loss: BatchLoss
    weights: Callable[[], dict[str, Tensor]]
    data: list[Path]
    heldout: Path | None
    out: Path
    encoded: EncodedPairs | None = None
    snapshots: Snapshots | None = None
    framer: "Auxiliary | None" = None


class Training:
    """One start of a task, from the beginning or from a checkpoint, to its end or to an interruption."""

    def __init__(self, task: Task, session: Session, checkpoints: Checkpoints, accelerator: Accelerator):
        self.task, self.session, self.checkpoints, self.accelerator = task, session, checkpoints, accelerator
        self.rows: dict[str, list[Row]] = {"log": [], "heldout": []}
        self.stop = Stop(session.minutes, SlurmJob.own() if accelerator.is_main_process else None)
        self.trackers = Trackers(accelerator, session, task.out.name)
        self.written = time.monotonic()

    def run(self) -> list[str]:
        """Train all stages, or load the weights of an identical finished training.

        Returns:
            The names of the log files in `task.out`, written by the first rank.

        Raises:
            TrainingInterrupted: by a signal or a time limit; a checkpoint is written.
            UserError: the data or the checkpoint cannot be used, the loss diverges, or the distillation loss reaches
                no parameter.
        """
        task, job = self.task, self.task.job
        if self.accelerator.is_main_process:
            (task.out / CARD).unlink(missing_ok=True)  # a folder with a card is complete
            self.checkpoints.clean(self.session.resume)
        self.accelerator.wait_for_everyone()
        finished = self.checkpoints.finished()
        saved = finished or self.checkpoints.read()
        self.spent = Spent(task.out, self.accelerator, job.threads, resumed=saved is not None)
        if saved is None and task.snapshots and self.accelerator.is_main_process:
            task.snapshots.clear()
        if saved:
            self.rows = saved.rows
            if self.accelerator.is_main_process:
                resumed = f"resuming from step {saved.step} of {saved.stage}"
                message = "already complete; outputs restored" if finished else resumed
                print(f"framer: {task.out}: {message}", file=sys.stderr)
        before = 0
        for stage, settings in job.stages.items():
            task.begin(stage)
            task.backbone.to(self.accelerator.device, DTYPES[job.numerics.precision])
            if job.numerics.compile:
                # Of what `deterministic` sets, the part that is torch.compile's.
                torch.use_deterministic_algorithms(job.numerics.deterministic)
                task.backbone.network.compile()
            if saved is None or (saved.stage == stage and not finished):
                self._train(stage, settings, before, saved)
                saved = None
            before += settings.steps
        if finished:
            load_exactly(task.weights(), finished.group("weights"), str(task.out))
        elif self.accelerator.is_main_process:
            self._finish(before)
        if self.accelerator.is_main_process:
            write_csv(task.out / "log.csv", self.rows["log"], ["stage", "step", "loss"])
            if self.rows["heldout"]:
                write_csv(task.out / "heldout.csv", self.rows["heldout"], [])
        self.spent.write()
        return ["log.csv", "heldout.csv"] if self.rows["heldout"] else ["log.csv"]

    def _train(self, stage: str, settings: Optimisation, before: int, saved: Saved | None) -> None:
        """Train one stage, from a checkpoint within it if given; `before`: total steps of the earlier stages."""
        task, job = self.task, self.task.job
        # Stages of one run have different draws; runs of one seed have the same.
        seeds = {axis: derive_seed(seed, stage) for axis, seed in job.seeds.items()}
        order = Epochs(job.data.pairs, seeds["data"]) if job.data.pairs else endless
        drawn = job.data.seed if job.data.pairs else seeds["data"]
        pairs: TrainingPairs | EncodedStream = (
            EncodedStream(task.encoded, order)
            if task.encoded
            else training_pairs(job.data, task.data, settings.crop, drawn, order)
        )
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        batches = Batches(pairs, settings, seeds, rank, ranks)
        first = 0
        if saved:
            first = saved.step
            for name, own in self._weights().items():
                load_exactly(own, saved.group(name), str(self.checkpoints.folder))
            if task.snapshots:
                task.snapshots.check(before + first)
        else:
            self._measure(stage, 0)
        if not settings.steps:
            return
        stepper = Stepper(task.backbone, task.batch_loss, settings, self.accelerator)
        if saved:
            stepper.load(saved)
        else:
            self._check_reach(stage, batches, settings)
        micro = range(first * settings.accumulate, settings.steps * settings.accumulate)
        stream = batches.stream(micro.start, micro.stop, workers(self.accelerator.device))
        shown = self.session.progress and self.accelerator.is_main_process
        bar = Bar(f"{stage} {task.out.name}", first, settings.steps, settings.batch, shown)
        begun = time.monotonic()
        with self.stop.listening():
            for step in range(first, settings.steps):
                started = time.monotonic()
                rate = settings.lr * schedule(step, settings)
                values, stop, due = self._agree(stepper.backward(stream))
                row: Row = {"stage": stage, "step": step, **values, "lr": rate, "gradient": stepper.clip()}
                beginning = self.rows["log"][before : before + divergence.START]
                if problem := divergence.check(beginning, row, stepper.scales):
                    again = [batches.batch(step * settings.accumulate + part) for part in range(settings.accumulate)]
                    raise divergence.error(stage, step, problem, stepper.losses, again, settings)
                stepper.update(step, rate)
                if task.snapshots and before + step + 1 in task.snapshots.steps and self.accelerator.is_main_process:
                    with stepper.finished():
                        task.snapshots.take(before + step + 1, task.backbone)
                self.rows["log"].append(row)
                self.trackers.show(stage, row, step + 1 == settings.steps)
                bar.advance(step, values["loss"])
                self.stop.took(time.monotonic() - started)
                if stop or due:
                    self._checkpoint(stepper, stage, step + 1, before)
                if stop:
                    bar.close()
                    self._leave(stage, step + 1)
            if self._any(time.monotonic() - self.written >= self.session.every / 10 and first < settings.steps):
                self._checkpoint(stepper, stage, settings.steps, before)  # measuring takes a while, too
        bar.close()
        self.trackers.speed(job, stage, time.monotonic() - begun, settings.steps - first)
        stepper.finish()
        self.accelerator.free_memory()
        self._measure(stage, settings.steps)

    def _agree(self, values: dict[str, float]) -> tuple[dict[str, float], bool, bool]:
        """Mean values over all ranks, whether one of them has to stop, whether a checkpoint is due."""
        stop, due = self.stop.reason is not None, time.monotonic() - self.written >= self.session.every
        if self.accelerator.num_processes == 1:
            return values, stop, due
        shared = torch.tensor([*values.values(), float(stop), float(due)], dtype=torch.float64)
        *means, stops, dues = self.accelerator.reduce(shared.to(self.accelerator.device), "mean").tolist()
        return dict(zip(values, means, strict=True)), stops > 0, dues > 0

    def _any(self, mine: bool) -> bool:
        """Whether it holds on any rank."""
        return bool(self.accelerator.reduce(torch.tensor(float(mine), device=self.accelerator.device), "sum").item())

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        """All trained tensors in two groups: the weights of the run, and the heads."""
        return {"weights": self.task.weights(), "heads": dict(self.task.backbone.heads.state_dict())}

    def _checkpoint(self, stepper: Stepper, stage: str, step: int, before: int) -> None:
        started = time.monotonic()
        if self.accelerator.is_main_process:
            groups = self._weights().items()
            tensors = {f"{group}/{name}": tensor for group, found in groups for name, tensor in found.items()}
            saved = Saved(stage, step, self.rows, {**tensors, **stepper.state()}, stepper.scaler())
            self.checkpoints.write(before + step, saved)
            self.spent.write()
        self.accelerator.wait_for_everyone()  # the first rank to exit has the others killed
        self.written = time.monotonic()
        self.stop.took(self.written - started)

    def _finish(self, done: int) -> None:
        weights = {f"weights/{name}": tensor for name, tensor in self.task.weights().items()}
        stage, settings = next(reversed(self.task.job.stages.items()), ("", None))
        if self.task.snapshots:
            self.task.snapshots.finish(done, self.task.backbone)
        self.checkpoints.finish(done, Saved(stage, settings.steps if settings else 0, self.rows, weights, {}))

    def _leave(self, stage: str, step: int) -> None:
        reason = self.stop.reason or "another rank was interrupted"
        requeued = self.stop.requeue()
        self.accelerator.wait_for_everyone()
        how = "the job is requeued" if requeued else "run the same command again to resume"
        raise TrainingInterrupted(f"{self.task.out}: {reason}; checkpoint saved after step {step} of {stage}; {how}")

    def _check_reach(self, stage: str, batches: Batches, settings: Optimisation) -> None:
        """Check that the distillation loss of the first step has a gradient; its batches are drawn apart."""
        framer = self.task.framer
        if framer is None or not framer.recipe.weight or framer.recipe.objective == "none":
            return
        for part in range(settings.accumulate):
            reached = reaches(self.task.backbone, framer, on(self.accelerator.device, batches.batch(part)))
            if reached is None or self._any(reached):
                return
        raise unreached(stage)

    def _measure(self, stage: str, step: int) -> None:
        fixed = self.task.job.heldout
        if fixed and self.task.heldout:
            loss = heldout_loss(self.task.backbone, self.task.heldout, fixed, self.accelerator)
            self.rows["heldout"].append({"stage": stage, "step": step, "loss": loss})


def schedule(step: int, settings: Optimisation) -> float:
    """The learning rate's factor at a step: linear warm-up from 1 / warmup, then constant or half a cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if not settings.decay:
        return 1.0
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))
