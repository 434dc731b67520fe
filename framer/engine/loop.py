"""The one training loop: AdamW over a stream of steps, logged, and stopped when it diverges."""

import csv
import io
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from framer.backbones.base import SCALE, Backbone, Batch, Draws, StepLoss
from framer.data.images import read_rgb
from framer.data.pairs import TrainingPairs, paired, to_tensor
from framer.errors import UserError
from framer.provenance import CARD, derive_seed, write_text
from framer.schema import Optimisation
from framer.study import HeldOut, PretrainJob

Row = Mapping[str, str | int | float]


def run_stages(
    backbone: Backbone,
    job: PretrainJob,
    begin: Callable[[str], None],
    batch_loss: Callable[[Batch], StepLoss],
    data: list[Path],
    out: Path,
    heldout: Path | None,
    progress: bool,
) -> list[str]:
    """Optimise what a backbone has to train, a stage at a time, and measure the held-out loss around each.

    Args:
        backbone: the model; its weights change in place.
        job: the settings.
        begin: called with a stage's name before it starts; makes trainable what it trains.
        batch_loss: what a step minimises.
        data: folders of HR photographs.
        out: where log.csv and heldout.csv go.
        heldout: folder of pairs for the held-out loss.
        progress: show a bar.

    Returns:
        The names of the files in `out`.
    """
    (out / CARD).unlink(missing_ok=True)  # a folder with a card is complete
    log: list[Row] = []
    measured: list[Row] = []
    for stage, settings in job.stages.items():
        begin(stage)
        # Stages of one run draw apart, and runs of one seed alike.
        seeds = {axis: derive_seed(seed, stage) for axis, seed in job.seeds.items()}
        pairs = TrainingPairs(data, settings.crop, job.data.degradation, seeds["data"])

        def step_loss(
            step: int, size: int = settings.batch, pairs: TrainingPairs = pairs, seeds: Any = seeds
        ) -> StepLoss:
            stems, lr, hr = pairs.batch(step, size)
            draws = Draws.of_step(seeds["noise"], seeds["negatives"], step, size)
            return batch_loss(Batch(lr, hr, stems, draws))

        for step in dict.fromkeys((0, settings.steps)):
            if step:
                rows = optimise(backbone.trainable(), step_loss, settings, f"{stage} {out.name}", progress)
                log += [{"stage": stage, **row} for row in rows]
            if job.heldout and heldout:
                loss = heldout_loss(backbone, heldout, job.heldout)
                measured.append({"stage": stage, "step": step, "loss": loss})
    write_csv(out / "log.csv", log, ["stage", "step", "loss"])
    if not measured:
        return ["log.csv"]
    write_csv(out / "heldout.csv", measured, [])
    return ["log.csv", "heldout.csv"]


def optimise(
    parameters: Mapping[str, nn.Parameter],
    step_loss: Callable[[int], StepLoss],
    settings: Optimisation,
    label: str,
    progress: bool = True,
) -> list[Row]:
    """Minimise a loss.

    Args:
        parameters: what is optimised, by name.
        step_loss: the loss of step number k.
        settings: steps, learning rate, clipping.
        label: what the progress bar says.
        progress: show it.

    Returns:
        A row a step: step, loss, every term, learning rate, and the gradient's norm before clipping.

    Raises:
        UserError: a term or the gradient is not finite; names the step.
    """
    weights = list(parameters.values())
    optimiser = torch.optim.AdamW(weights, lr=settings.lr, weight_decay=settings.weight_decay)
    rows: list[Row] = []
    started = time.perf_counter()
    bar = tqdm(range(settings.steps), label, unit="step", file=sys.stderr, disable=not progress, mininterval=1.0)
    for step in bar:
        rate = settings.lr * schedule(step, settings)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = step_loss(step)
        values = {"loss": loss.total.item(), **{name: term.item() for name, term in loss.terms.items()}}
        _check_finite(step, values, settings)
        optimiser.zero_grad()
        loss.total.backward()
        gradient = nn.utils.clip_grad_norm_(weights, settings.clip).item()
        _check_finite(step, {"gradient": gradient}, settings)
        optimiser.step()
        rows.append({"step": step, **values, "lr": rate, "gradient": gradient})
        speed = (step + 1) * settings.batch / (time.perf_counter() - started)
        bar.set_postfix_str(f"loss {values['loss']:.4g}, {speed:.0f} images/s", refresh=False)
    return rows


def schedule(step: int, settings: Optimisation) -> float:
    """The learning rate's factor at a step: linear warm-up from 1 / warmup, then constant or half a cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if not settings.decay:
        return 1.0
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def heldout_loss(backbone: Backbone, pairs: Path, fixed: HeldOut) -> float:
    """The training loss without FRAMER, on a fixed set of (image, sigma, noise).

    Args:
        backbone: a base or an adapted backbone.
        pairs: folder with LR/ and HR/; draw k takes pair k modulo their number, cut to the backbone's multiple.
        fixed: how many draws, and the seed of their sigma and noise.
    """
    files = paired(pairs / "LR", pairs / "HR")
    total = 0.0
    for k in range(fixed.draws):
        stem, *paths = files[k % len(files)]
        lr, hr = (to_tensor(read_rgb(path)).unsqueeze(0) for path in paths)
        height, width = (side - side % backbone.multiple for side in hr.shape[-2:])
        lr, hr = lr[..., : height // SCALE, : width // SCALE], hr[..., :height, :width]
        batch = Batch(lr, hr, (stem,), Draws.of_step(fixed.seed, fixed.seed, k, 1))
        total += backbone.training_loss(batch).total.item()
    return total / fixed.draws


def write_csv(path: Path, rows: Sequence[Row], columns: list[str]) -> None:
    """Write rows as CSV, numbers as Python prints them; `columns` are the header of a table without rows."""
    text = io.StringIO()
    found = list(dict.fromkeys(column for row in rows for column in row))  # stages differ in their terms
    writer = csv.DictWriter(text, found or columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _check_finite(step: int, values: Mapping[str, float], settings: Optimisation) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            hint = f"lower lr (now {settings.lr}) or clip (now {settings.clip})"
            raise UserError(f"training diverged at step {step}: {name} is {value}; {hint}")
