"""The layers of PiSA-SR's U-Net as FRAMER compares them: read by 1x1 convolutions, in training only."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from framer.backbones.base import zeroed
from framer.method.heads import AlignmentHeads
from framer.method.prediction import compared
from framer.method.recipe import Space
from framer.method.taps import record

if TYPE_CHECKING:
    from framer.backbones.pisa_sr import PiSASR

BLOCKS = ("down_blocks.*", "mid_block", "up_blocks.*")
"""The layers that FRAMER teaches, by their names in the U-Net."""


def new_heads(model: "PiSASR") -> AlignmentHeads:
    """A 1x1 convolution a block, to where `framer_maps` says.

    To latents: at zero, so that every student starts as the bicubic image. To the features of the last block, which
    are the teacher then: at random, since nothing can be said of a map of zeros.
    """
    channels = model.config["unet"]["block_out_channels"]
    widths = (*channels, channels[-1], *reversed(channels))
    if model.settings.framer_maps == "latents":
        return zeroed(AlignmentHeads(widths, model.codec.channels))
    return AlignmentHeads(widths[:-1], widths[-1])


def readable(model: "PiSASR", start: Tensor, text: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """The residual, the features that have a head, and the map that the heads are to read out of them."""
    with record(model.network, BLOCKS) as taps:
        residual = model.residual(start, text)
        features = list(taps.take().values())
    if model.settings.framer_maps == "latents":
        return residual, features, residual
    *others, last = features
    return residual, others, last


def layer_maps(model: "PiSASR", start: Tensor, text: Tensor, space: Space) -> tuple[Tensor, list[Tensor], Tensor]:
    """The residual of one forward pass, every block's map, and the teacher's, (B, C, h, w) each.

    Args:
        model: with heads.
        start: z_L, (B, C, h, w).
        text: embeddings, (B, tokens, width).
        space: of the maps where they are latents.
    """
    residual, features, target = readable(model, start, text)
    students: list[Tensor] = model.heads(features, target.shape[-2:])
    if model.settings.framer_maps == "features":
        return residual, [*students, target], target
    one = torch.ones(())  # z_L = z_H + residual: alpha = sigma = 1
    *students, teacher = compared([*students, residual], space, "epsilon", start, one, one)
    return residual, students, teacher
