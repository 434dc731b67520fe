"""What to say when a loss or a gradient is no number any more: the step, the images, and the layer where it began."""

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
"""A loss over TIMES the largest of the first START steps will not come back."""

NAMED = 8
"""So many images are named."""


def check(first: Sequence[Mapping[str, Any]], row: Mapping[str, Any], overflows: bool) -> str | None:
    """What is wrong with a step's values, such as "loss is nan", or None.

    Args:
        first: the first START steps of the stage, or as many as there are.
        row: loss, terms and gradient of this one.
        overflows: a gradient that is not finite is skipped by the scaler of fp16.
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
        problem: what `check` found.
        losses: the module that was trained, its gradients as they are.
        batches: the parts of the step's batch that this rank had, drawn again.
        settings: of the stage.
    """
    layer = first_not_finite(losses, batches)
    where = f"; first not finite: {layer}" if layer else ""
    names = list(dict.fromkeys(stem for batch in batches for stem in batch.stems))
    images = named(names, NAMED)
    hint = f"lower lr (now {settings.lr}) or clip (now {settings.clip})"
    return UserError(f"training diverged at step {step}: {problem}; {hint}; stage {stage}, images {images}{where}")


@torch.no_grad()
def first_not_finite(losses: nn.Module, batches: Sequence[Batch]) -> str | None:
    """The first layer whose output is not finite, or else the first weight whose value or gradient is not.

    The batches go through the network once more; nothing is watched while all is well.
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
