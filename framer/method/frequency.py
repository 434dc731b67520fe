"""External frequency losses: the final estimate against the ground truth, in the spectrum. Rivals of FRAMER."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framer.errors import UserError
from framer.method.bands import multiplicity
from framer.method.recipe import Recipe


@dataclass(frozen=True)
class FrequencyOutput:
    """The output of `FrequencyLoss`."""

    loss: Tensor
    """Scalar with gradient, the recipe's weight included."""


class FrequencyLoss(nn.Module):
    """The loss of a recipe whose objective is `focal_frequency` or `spectrum_l1`.

    With D the orthonormal Fourier transform of the difference of two maps, and means over all its coefficients:

        spectrum_l1      = weight * mean |D|
        focal_frequency  = weight * mean w |D|^2,    w = |D|^alpha / max |D|^alpha

    The maximum is over the coefficients of one channel of one image, and w carries no gradient (arXiv 2012.12821, Eq. 8
    and 9). By Parseval the latter with alpha = 0 is the mean squared error of the maps.

    The arithmetic is float32, or float64 for float64 maps, whatever the autocast state.
    """

    def __init__(self, recipe: Recipe):
        super().__init__()
        if not recipe.external:
            message = f"{recipe.objective!r} compares layers; pass the recipe to FramerLoss"
            raise UserError(message, key="recipe.objective")
        self.recipe = recipe

    def extra_repr(self) -> str:
        return repr(self.recipe)

    def forward(self, estimate: Tensor, truth: Tensor) -> FrequencyOutput:
        """Compare maps (B, C, H, W), latents or images; no gradient flows into the truth.

        Raises:
            UserError: shapes differ.
        """
        if estimate.ndim != 4 or estimate.shape != truth.shape:
            message = f"must be maps of one shape (B, C, H, W), not {tuple(estimate.shape)} and {tuple(truth.shape)}"
            raise UserError(message, key="estimate", code="mismatch")
        dtype = torch.promote_types(estimate.dtype, torch.float32)
        with torch.autocast(estimate.device.type, enabled=False):
            apart = torch.fft.rfft2(estimate.to(dtype) - truth.detach().to(dtype), norm="ortho")
            count = multiplicity(estimate.shape[-1], apart.real)
            if self.recipe.objective == "spectrum_l1":
                terms = apart.abs()
            else:
                square = apart.real.square() + apart.imag.square()
                focus = square.detach().sqrt() ** self.recipe.alpha
                terms = focus / focus.amax(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(dtype).tiny) * square
            return FrequencyOutput(self.recipe.weight * (terms * count).sum() / estimate.numel())
