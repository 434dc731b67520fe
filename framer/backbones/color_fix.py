"""Color fixes: transfer the colors of the LR image to the restored image."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from framer.errors import UserError

ColorFix = Literal["adain", "wavelet", "none"]

LEVELS = 5
EPS = 1e-5


def match_color(sr: Tensor, reference: Tensor, how: ColorFix) -> Tensor:
    """Correct the colors of restored images.

        adain:    each channel gets the reference's mean and standard deviation
        wavelet:  high frequencies of the restored image, low frequencies of the reference

    Both as in StableSR and its successors, but on floating-point images, before they are rounded to 8 bits.

    Args:
        sr: (B, 3, H, W), about [0, 1].
        reference: the upsampled LR images, (B, 3, H, W) in [0, 1].
        how: "adain", "wavelet" or "none".

    Returns:
        (B, 3, H, W), not clamped.

    Raises:
        UserError: an unknown `how`.
    """
    if how == "none":
        return sr
    if how == "adain":
        return _adain(sr, reference)
    if how == "wavelet":
        return sr - _lowpass(sr) + _lowpass(reference)
    raise UserError(f"{how!r} is not one of adain, wavelet, none", key="color")


def _adain(sr: Tensor, reference: Tensor) -> Tensor:
    mean, std = _moments(sr)
    target_mean, target_std = _moments(reference)
    return (sr - mean) / std * target_std + target_mean


def _moments(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel, (B, 3, 1, 1) each; of the unbiased variance plus EPS."""
    flat = image.flatten(2)
    variance = flat.var(dim=2) if flat.shape[2] > 1 else flat.new_zeros(flat.shape[:2])
    return flat.mean(dim=2)[..., None, None], (variance + EPS).sqrt()[..., None, None]


def _lowpass(image: Tensor) -> Tensor:
    """Low-pass of the a-trous wavelet transform after five levels: 3x3 binomial blurs, dilated by 1, 2, 4, 8, 16."""
    row = torch.tensor([0.25, 0.5, 0.25], dtype=image.dtype, device=image.device)
    channels = image.shape[1]
    kernel = (row[:, None] * row).expand(channels, 1, 3, 3)
    for level in range(LEVELS):
        step = 2**level
        image = F.conv2d(F.pad(image, (step,) * 4, mode="replicate"), kernel, groups=channels, dilation=step)
    return image
