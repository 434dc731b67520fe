"""The layers of DiT4SR's transformer for FRAMER, projected by its own last projection, in training only."""

from typing import TYPE_CHECKING

from torch import Tensor

from framer.method.heads import final_projection
from framer.method.hooks import record
from framer.method.prediction import compared
from framer.method.recipe import Space

if TYPE_CHECKING:
    from framer.backbones.dit4sr.losses import Step
    from framer.backbones.dit4sr.model import DiT4SR

BLOCKS = ("transformer_blocks.*",)
"""The layers that FRAMER teaches, by their names in the transformer."""


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
