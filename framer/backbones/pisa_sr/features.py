"""The layers of PiSA-SR's U-Net for FRAMER, projected by 1x1 convolutions, in training only."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from framer.backbones.base import Batch
from framer.backbones.state_dict import zeroed
from framer.method.frequency import FrequencyLoss
from framer.method.heads import AlignmentHeads
from framer.method.hooks import record
from framer.method.prediction import compared, truth
from framer.method.recipe import Space

if TYPE_CHECKING:
    from framer.backbones.pisa_sr.model import PiSASR
    from framer.method.auxiliary import Auxiliary

BLOCKS = ("down_blocks.*", "mid_block", "up_blocks.*")
"""The layers that FRAMER teaches, by their names in the U-Net."""

Target = Literal["latents", "features"]
"""`PiSASRSettings.framer_maps`: the target of the heads' projection."""


def new_heads(channels: Sequence[int], latent: int, target: Target, space: Space) -> AlignmentHeads:
    """Create one 1x1 convolution per block.

    Projections to latents that are compared as x0 estimates start at zero, so that every student starts as the bicubic
    image. Projections to the residual itself, or to the features of the last block, which are the teacher then, start
    at random: a map of zeros has no cosine, and no gradient leads away from it.

    Args:
        channels: `block_out_channels` of the U-Net.
        latent: number of latent channels.
        target: the heads' target.
        space: where layers are compared.
    """
    widths = (*channels, channels[-1], *reversed(channels))
    if target == "latents":
        heads = AlignmentHeads(widths, latent)
        return zeroed(heads) if space == "x0" else heads
    return AlignmentHeads(widths[:-1], widths[-1])


def projected(network: nn.Module, forward: Callable[[], Tensor], target: Target) -> tuple[Tensor, list[Tensor], Tensor]:
    """Run one forward pass: the residual, the features that have a head, and the target map of the heads.

    Args:
        network: the U-Net.
        forward: runs it once and returns the residual, (B, C, h, w).
        target: the heads' target.
    """
    with record(network, BLOCKS) as recorder:
        residual = forward()
        features = list(recorder.take().values())
    if target == "latents":
        return residual, features, residual
    *others, last = features
    return residual, others, last


def with_framer(
    model: "PiSASR", batch: Batch, start: Tensor, text: Tensor, framer: "Auxiliary"
) -> tuple[Tensor, Tensor | None]:
    """Run one forward pass: the residual, (B, C, h, w), and the loss of a recipe, a scalar.

    The loss is None where it compares images: the caller decodes them anyway.

    Args:
        model: with heads, where the recipe reads layers.
        batch: its HR images are the truth; their latents are the VAE's most likely ones, so that nothing is drawn.
        start: z_L, (B, C, h, w).
        text: embeddings of the prompts, (B, tokens, width).
        framer: the loss.
    """
    recipe = framer.recipe
    with torch.no_grad():
        clean = model.codec.encode(batch.hr.to(start.device)) if recipe.truth == "latent" else None
    if isinstance(framer, FrequencyLoss):
        residual = model.residual(start, text)
        return residual, None if clean is None else framer(start - residual, clean).loss
    residual, students, teacher = layer_maps(model, start, text, recipe.space)
    if clean is not None:
        teacher = truth(clean, recipe.space, *_noise(start))
    return residual, framer(students, teacher, generator=batch.draws.shared).loss


def _noise(start: Tensor) -> tuple[Literal["epsilon"], Tensor, Tensor, Tensor]:
    """The residual as a prediction of noise: z_L = z_H + residual, so that alpha = sigma = 1."""
    one = torch.ones(())
    return "epsilon", start, one, one


def layer_maps(model: "PiSASR", start: Tensor, text: Tensor, space: Space) -> tuple[Tensor, list[Tensor], Tensor]:
    """Run one forward pass: the residual, every block's map, and the teacher's, (B, C, h, w) each.

    Args:
        model: with heads.
        start: z_L, (B, C, h, w).
        text: embeddings of the prompts, (B, tokens, width).
        space: space of the maps, for targets in latents.
    """
    target = model.settings.framer_maps
    residual, features, wanted = projected(model.network, lambda: model.residual(start, text), target)
    students: list[Tensor] = model.heads(features, wanted.shape[-2:])
    if target == "features":
        return residual, [*students, wanted], wanted
    *students, teacher = compared([*students, residual], space, *_noise(start))
    return residual, students, teacher
