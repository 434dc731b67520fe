"""The one training loop: the stages of a job one after the other, logged, interrupted and resumed."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from framer.training.dataloader import Batches, workers
from framer.training.latent_cache import EncodedPairs, EncodedStream
from framer.training.log import Bar, Row, Trackers, write_csv
from framer.training.optimizer_step import BatchLoss, Stepper
from framer.training.options import Session
from framer.training.preemption import SlurmJob, Stop
from framer.training.snapshot_writer import Snapshots
from framer.training.usage import Spent
from framer.training.validation import heldout_loss


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        job: the settings.
        backbone: the model; its weights change in place.
        begin: called with a stage's name before it starts; makes trainable what it trains.
        batch_loss: what a step minimises.
        weights: what of the model is kept, by name: the tensors themselves, which are trained in place.
        data: folders of HR photographs.
        heldout: folder of pairs for the held-out loss.
        out: where log.csv and heldout.csv go.
        encoded: the pairs, encoded earlier, in place of the photographs.
        snapshots: what is kept on the way, where anything is.
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


class Training:
    """One start of a task, from the beginning or from a checkpoint, to its end or to where it is stopped."""

    def __init__(self, task: Task, session: Session, checkpoints: Checkpoints, accelerator: Accelerator):
        self.task, self.session, self.checkpoints, self.accelerator = task, session, checkpoints, accelerator
        self.rows: dict[str, list[Row]] = {"log": [], "heldout": []}
        self.stop = Stop(session.minutes, SlurmJob.own() if accelerator.is_main_process else None)
        self.trackers = Trackers(accelerator, session, task.out.name)
        self.written = time.monotonic()

    def run(self) -> list[str]:
        """Train all stages, or load what a finished training of the very same left.

        Returns:
            The names of the files in `task.out`, which the first rank has written.

        Raises:
            TrainingInterrupted: there is a checkpoint, and time or patience is over.
            UserError: the data or the checkpoint cannot be used, or the loss diverges.
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
                going_on = f"going on after step {saved.step} of {saved.stage}"
                says = "finished before; written again as it was" if finished else going_on
                print(f"framer: {task.out}: {says}", file=sys.stderr)
        before = 0
        for stage, settings in job.stages.items():
            task.begin(stage)
            task.backbone.to(self.accelerator.device, DTYPES[job.numerics.precision])
            if job.numerics.compile:
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
        """One stage, from a checkpoint within it where there is one; `before` are the steps of the stages before."""
        task, job = self.task, self.task.job
        # Stages of one run draw apart, and runs of one seed alike.
        seeds = {axis: derive_seed(seed, stage) for axis, seed in job.seeds.items()}
        order = Epochs(job.data.pairs, seeds["data"]) if job.data.pairs else endless
        drawn = job.data.seed if job.data.pairs else seeds["data"]
        pairs: TrainingPairs | EncodedStream = (
            EncodedStream(task.encoded, order)
            if task.encoded
            else TrainingPairs(task.data, settings.crop, job.data.degradation, drawn, order)
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
        """What all ranks have in common after a step: mean values, whether one has to stop, whether to checkpoint."""
        stop, due = self.stop.reason is not None, time.monotonic() - self.written >= self.session.every
        if self.accelerator.num_processes == 1:
            return values, stop, due
        told = torch.tensor([*values.values(), float(stop), float(due)], dtype=torch.float64)
        *means, stops, dues = self.accelerator.reduce(told.to(self.accelerator.device), "mean").tolist()
        return dict(zip(values, means, strict=True)), stops > 0, dues > 0

    def _any(self, mine: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(self.accelerator.reduce(torch.tensor(float(mine), device=self.accelerator.device), "sum").item())

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        """What changes in training, in two groups: what a run keeps, and the heads."""
        return {"weights": self.task.weights(), "heads": dict(self.task.backbone.heads.state_dict())}

    def _checkpoint(self, stepper: Stepper, stage: str, step: int, before: int) -> None:
        started = time.monotonic()
        if self.accelerator.is_main_process:
            groups = self._weights().items()
            tensors = {f"{group}/{name}": tensor for group, found in groups for name, tensor in found.items()}
            saved = Saved(stage, step, self.rows, {**tensors, **stepper.state()}, stepper.scaler())
            self.checkpoints.write(before + step, saved)
            self.spent.write()
        self.accelerator.wait_for_everyone()  # a rank that goes first has the others killed
        self.written = time.monotonic()
        self.stop.took(self.written - started)

    def _finish(self, done: int) -> None:
        weights = {f"weights/{name}": tensor for name, tensor in self.task.weights().items()}
        stage, settings = next(reversed(self.task.job.stages.items()), ("", None))
        if self.task.snapshots:
            self.task.snapshots.finish(done, self.task.backbone)
        self.checkpoints.finish(done, Saved(stage, settings.steps if settings else 0, self.rows, weights, {}))

    def _leave(self, stage: str, step: int) -> None:
        reason = self.stop.reason or "another rank was told to stop"
        back = self.stop.put_back()
        self.accelerator.wait_for_everyone()
        how = "the job is back in the queue" if back else "run it again to go on"
        raise TrainingInterrupted(f"{self.task.out}: {reason}; stopped after step {step} of {stage}; {how}")

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
