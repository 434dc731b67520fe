"""The layers of PiSA-SR's U-Net as FRAMER compares them: read by 1x1 convolutions, in training only."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from framer.backbones.state_dict import zeroed
from framer.method.heads import AlignmentHeads
from framer.method.hooks import record
from framer.method.prediction import compared
from framer.method.recipe import Space

BLOCKS = ("down_blocks.*", "mid_block", "up_blocks.*")
"""The layers that FRAMER teaches, by their names in the U-Net."""

Target = Literal["latents", "features"]
"""`PiSASRSettings.framer_maps`: what the heads read out of a layer."""


def new_heads(channels: Sequence[int], latent: int, target: Target) -> AlignmentHeads:
    """A 1x1 convolution a block.

    To latents: at zero, so that every student starts as the bicubic image. To the features of the last block, which
    are the teacher then: at random, since nothing can be said of a map of zeros.

    Args:
        channels: of the U-Net, `block_out_channels`.
        latent: channels of a latent.
        target: of the heads.
    """
    widths = (*channels, channels[-1], *reversed(channels))
    if target == "latents":
        return zeroed(AlignmentHeads(widths, latent))
    return AlignmentHeads(widths[:-1], widths[-1])


def readable(network: nn.Module, forward: Callable[[], Tensor], target: Target) -> tuple[Tensor, list[Tensor], Tensor]:
    """The residual of one forward pass, the features that have a head, and the map that the heads read out of them.

    Args:
        network: the U-Net.
        forward: runs it once and gives the residual, (B, C, h, w).
        target: of the heads.
    """
    with record(network, BLOCKS) as taps:
        residual = forward()
        features = list(taps.take().values())
    if target == "latents":
        return residual, features, residual
    *others, last = features
    return residual, others, last


def layer_maps(
    network: nn.Module, heads: nn.Module, forward: Callable[[], Tensor], target: Target, start: Tensor, space: Space
) -> tuple[Tensor, list[Tensor], Tensor]:
    """The residual of one forward pass, every block's map, and the teacher's, (B, C, h, w) each.

    Args:
        network, forward, target: as for `readable`.
        heads: of the blocks.
        start: z_L, (B, C, h, w).
        space: of the maps where they are latents.
    """
    residual, features, wanted = readable(network, forward, target)
    students: list[Tensor] = heads(features, wanted.shape[-2:])
    if target == "features":
        return residual, [*students, wanted], wanted
    one = torch.ones(())  # z_L = z_H + residual: alpha = sigma = 1
    *students, teacher = compared([*students, residual], space, "epsilon", start, one, one)
    return residual, students, teacher
