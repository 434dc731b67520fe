"""The layers of DiT4SR's transformer for FRAMER, projected by its own last projection, in training only."""

from typing import TYPE_CHECKING

from torch import Tensor

from framer.backbones.random import Draws
from framer.method.frequency import FrequencyLoss
from framer.method.heads import final_projection
from framer.method.hooks import record
from framer.method.prediction import compared, to_x0, truth
from framer.method.recipe import Space

if TYPE_CHECKING:
    from framer.backbones.dit4sr.losses import Step
    from framer.backbones.dit4sr.model import DiT4SR
    from framer.method.auxiliary import Auxiliary

BLOCKS = ("transformer_blocks.*",)
"""The layers that FRAMER teaches, by their names in the transformer."""


def with_framer(model: "DiT4SR", step: "Step", framer: "Auxiliary", draws: Draws) -> tuple[Tensor, Tensor]:
    """Run one forward pass: the velocity, (B, C, h, w), and the loss of a recipe, a scalar.

    Args:
        model, step: as for `layer_maps`.
        framer: the loss.
        draws: random numbers, for the choice of negatives.
    """
    recipe = framer.recipe
    if isinstance(framer, FrequencyLoss):
        velocity = model.velocity(step.noisy, step.lr, step.sigma, step.text)
        return velocity, framer(to_x0(velocity, "flow", step.noisy, step.sigma), step.clean).loss
    velocity, students, teacher = layer_maps(model, step, recipe.space)
    if recipe.truth:
        teacher = truth(step.clean, recipe.space, "flow", step.noisy, step.sigma)
    return velocity, framer(students, teacher, generator=draws.shared).loss


def layer_maps(model: "DiT4SR", step: "Step", space: Space) -> tuple[Tensor, list[Tensor], Tensor]:
    """Run one forward pass: the velocity, every block's map, and the teacher's, (B, C, h, w) each.

    Args:
        model: the backbone.
        step: inputs of the network.
        space: space of the maps.
    """
    network = model.transformer
    with record(network, (*BLOCKS, "time_text_embed")) as recorder:
        velocity = model.velocity(step.noisy, step.lr, step.sigma, step.text)
        temb, *blocks = recorder.take().values()
    h, w = (side // network.patch_size for side in velocity.shape[-2:])
    with model.autocast():
        students = final_projection(network, [image[:, : h * w] for image in blocks], temb, (h, w))
    maps = [*(student.to(velocity.dtype) for student in students), velocity]
    *students, teacher = compared(maps, space, "flow", step.noisy, step.sigma)
    return velocity, students, teacher
