"""The held-out loss: a number by which runs can be compared while they train. Nothing is selected on it."""

import math
from pathlib import Path

import torch
from accelerate import Accelerator

from framer.backbones.base import Backbone, Batch
from framer.backbones.random import Draws
from framer.data.degradation.presets import SCALE
from framer.data.images import paired, read_rgb
from framer.data.pairs import to_tensor
from framer.errors import UserError
from framer.study.jobs import HeldOut


@torch.no_grad()
def heldout_loss(backbone: Backbone, pairs: Path, fixed: HeldOut, accelerator: Accelerator) -> float:
    """The training loss without FRAMER, on a fixed set of (image, sigma, noise).

    Args:
        backbone: a base or an adapted backbone.
        pairs: folder with LR/ and HR/; draw k takes pair k modulo their number, cut to the backbone's multiple.
        fixed: how many draws, and the seed of their sigma and noise.
        accelerator: its ranks share the draws; their sum is taken in the order of k, however many they are.

    Raises:
        UserError: the loss of an image is not finite.
    """
    files = paired(pairs / "LR", pairs / "HR")
    losses = torch.zeros(fixed.draws, dtype=torch.float64)
    for k in range(accelerator.process_index, fixed.draws, accelerator.num_processes):
        stem, *paths = files[k % len(files)]
        lr, hr = (to_tensor(read_rgb(path)).unsqueeze(0) for path in paths)
        height, width = (side - side % backbone.multiple for side in hr.shape[-2:])
        lr, hr = lr[..., : height // SCALE, : width // SCALE], hr[..., :height, :width]
        batch = Batch(
            lr.to(accelerator.device), hr.to(accelerator.device), (stem,), Draws.of_step(fixed.seed, fixed.seed, k, 1)
        )
        losses[k] = loss = backbone.training_loss(batch).total.item()
        if not math.isfinite(loss):
            raise UserError(f"the held-out loss is {loss} in draw {k}; lower lr", path=paths[1], code="diverged")
    everyone = accelerator.reduce(losses.to(accelerator.device), "sum")  # each is 0 on all ranks but one
    return sum(everyone.tolist()) / fixed.draws
