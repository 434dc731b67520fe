"""Whether the distillation loss reaches anything that trains, checked before the first step of a stage."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from framer.backbones.base import Backbone, Batch
from framer.errors import UserError

if TYPE_CHECKING:  # the code of a baseline does not include the method
    from framer.method.auxiliary import Auxiliary
    from framer.method.frequency import FrequencyOutput
    from framer.method.loss import FramerOutput

SCALE = 2.0**16
"""Factor of the loss in 16-bit arithmetic, where a small gradient would be rounded to zero."""


def reaches(backbone: Backbone, framer: "Auxiliary", batch: Batch) -> bool | None:
    """Whether the distillation loss of a batch has a gradient other than exactly zero.

    No gradient is accumulated and torch's default generators are left as they are; the batch's own draws are used up.

    Args:
        backbone: adapted to the stage.
        framer: the distillation loss.
        batch: on the backbone's device.

    Returns:
        Of all trainable parameters together; None where the stage does not use the loss.
    """
    found: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: "FramerOutput | FrequencyOutput") -> None:
        found.append(output.loss)

    handle = framer.register_forward_hook(keep)
    try:
        with torch.random.fork_rng([backbone.device] if backbone.device.type == "cuda" else []):
            backbone.training_loss(batch, framer)
            if not found:
                return None
            weights = list(backbone.trainable().values())
            if not found[0].requires_grad:
                return False
            gradients = torch.autograd.grad(SCALE * found[0], weights, allow_unused=True)
    finally:
        handle.remove()
    return any(bool(gradient.any()) for gradient in gradients if gradient is not None)


def unreached(stage: str) -> UserError:
    """The error for a loss that reaches nothing."""
    return UserError(
        f"the gradient of the FRAMER loss is exactly zero for everything that stage {stage} trains: the run would equal"
        " its baseline; change the recipe, or use a base whose layers differ",
        key="recipe",
        code="diverged",
    )
