"""Errors for a loss or gradient that is not finite: the step, the images, and the layer where it began."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from framer.backbones.base import Batch
from framer.errors import UserError, named
from framer.study.schema import Optimisation
from framer.training.optimizer_step import Losses, on

TIMES = 1e4
START = 10
"""A loss above TIMES the largest of the first START steps counts as diverged."""

NAMED = 8
"""Images named in a message."""


def check(first: Sequence[Mapping[str, Any]], row: Mapping[str, Any], overflows: bool) -> str | None:
    """The problem of a step's values, such as "loss is nan", or None.

    Args:
        first: the first START steps of the stage, or as many as there are.
        row: loss, terms and gradient of this step.
        overflows: whether the scaler of fp16 skips a gradient that is not finite.
    """
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value) and not (overflows and name == "gradient"):
            return f"{name} is {value}"
    if len(first) == START:
        start = max(abs(earlier["loss"]) for earlier in first)
        if abs(row["loss"]) > TIMES * start:
            return f"loss is {row['loss']:.4g}, and was at most {start:.4g} in the first {START} steps"
    return None


def error(
    stage: str, step: int, problem: str, losses: nn.Module, batches: Sequence[Batch], settings: Optimisation
) -> UserError:
    """The error for the user, in one line.

    Args:
        stage, step: where it happened.
        problem: from `check`.
        losses: the trained module with its gradients.
        batches: this rank's parts of the step's batch, drawn again.
        settings: the stage's.
    """
    layer = first_not_finite(losses, batches)
    where = f"; first not finite: {layer}" if layer else ""
    names = list(dict.fromkeys(stem for batch in batches for stem in batch.stems))
    images = named(names, NAMED)
    hint = f"lower lr (now {settings.lr}) or clip (now {settings.clip})"
    message = f"training diverged at step {step}: {problem}; {hint}; stage {stage}, images {images}{where}"
    return UserError(message, code="diverged")


@torch.no_grad()
def first_not_finite(losses: nn.Module, batches: Sequence[Batch]) -> str | None:
    """The first layer whose output is not finite, or else the first weight whose value or gradient is not.

    The batches go through the network once more, so that a training without this error pays nothing.
    """
    module = losses.module if isinstance(losses, nn.parallel.DistributedDataParallel) else losses
    assert isinstance(module, Losses)
    for name, weight in module.named_parameters():
        if not weight.isfinite().all():
            return f"the weight {name}"
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not found and not output.isfinite().all():
                found.append(f"the output of {name}")

        return hook

    leaves = [(name, layer) for name, layer in module.network.named_modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(watch(name)) for name, layer in leaves]
    try:
        device = next(module.parameters()).device
        for batch in batches:
            module(on(device, batch))
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    gradients = ((name, weight.grad) for name, weight in module.named_parameters() if weight.grad is not None)
    return next((f"the gradient of {name}" for name, gradient in gradients if not gradient.isfinite().all()), None)
