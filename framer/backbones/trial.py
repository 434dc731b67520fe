"""Checks of a backbone of another package: its methods, and a trial on a small batch before its first training step."""

import inspect
import math
from typing import TYPE_CHECKING

import torch

from framer.backbones.base import Backbone, Batch
from framer.backbones.random import Draws, generator
from framer.data.degradation.presets import SCALE
from framer.errors import UserError

if TYPE_CHECKING:
    from framer.method.auxiliary import Auxiliary

SIDE = 64
"""Least side of the HR images of the trial, pixels."""


def check_signatures(cls: type[Backbone]) -> None:
    """Refuse a class with a method that cannot be called as `Backbone` declares it.

    Raises:
        UserError: a method has other arguments; the message shows those it must take.
    """
    for name, declared in inspect.getmembers(Backbone, inspect.isfunction):
        own, parameters = getattr(cls, name), inspect.signature(declared).parameters
        by_name = {key for key, one in parameters.items() if one.kind is one.KEYWORD_ONLY}
        try:
            inspect.signature(own).bind(*parameters.keys() - by_name, **dict.fromkeys(by_name))
        except TypeError as error:
            message = f"backbone {cls.name!r}: {own.__qualname__}: {error}; it must take ({', '.join(parameters)})"
            raise UserError(message, key=name, code="mismatch") from None


@torch.no_grad()
def try_out(backbone: Backbone, framer: "Auxiliary | None", analysis: bool) -> None:
    """Refuse a backbone that would fail after the start of a training: in the FRAMER loss, in analysis or restoring.

    Call after `adapt` and `add_heads`. Weights and the state of torch's default generator stay as they are.

    Args:
        backbone: the backbone.
        framer: the loss of the arm, or None for a baseline.
        analysis: whether layers will be analyzed, which requires `layer_maps`.

    Raises:
        UserError: too few layers for the recipe, maps of different shapes, no `layer_maps`, or a `restore` that changes
            the shape of images.
    """
    unit = math.lcm(backbone.multiple, SCALE)
    side = math.ceil(SIDE / unit) * unit
    hr = torch.rand(2, 3, side, side, generator=generator(0, "rehearsal"))
    lr = hr[..., ::SCALE, ::SCALE]
    with torch.random.fork_rng(devices=[]):
        if framer is not None:
            batch = Batch(lr, hr, ("rehearsal/0", "rehearsal/1"), Draws.of_step(0, 0, 0, 2))
            backbone.training_loss(batch, framer)
            if analysis and type(backbone).layer_maps is Backbone.layer_maps:
                raise UserError(
                    f"{backbone.name} does not implement layer_maps, which analysis requires", key="analysis"
                )
            if type(backbone).layer_maps is not Backbone.layer_maps and not framer.recipe.external:
                batch = Batch(lr, hr, batch.stems, Draws.of_step(0, 0, 0, 2))
                framer(*backbone.layer_maps(batch, framer.recipe.space))
        backbone.restore_image(lr[:1], Draws((generator(0),), generator(0)))
