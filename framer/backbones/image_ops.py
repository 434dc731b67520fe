"""Resizing and padding of image tensors (B, C, H, W)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from framer.data.degradation.presets import SCALE

if TYPE_CHECKING:
    pass


def upsample(lr: Tensor) -> Tensor:
    """Bicubic x4, clamped: (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w) in [0, 1]."""
    return interpolate(lr).clamp(0, 1)


def interpolate(values: Tensor) -> Tensor:
    """Bicubic x4 as `upsample`, not clamped."""
    return resized(values, [SCALE * side for side in values.shape[-2:]])


def resized(values: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic to (height, width), not clamped.

    Pillow's kernel, a = -0.5, with which both released codes restore; torch's own, without antialiasing, has a = -0.75.
    """
    return F.interpolate(values, list(size), mode="bicubic", align_corners=False, antialias=True)


def pad_to(image: Tensor, bottom: int, right: int) -> Tensor:
    """Pad (B, C, h, w) by reflection, in as many rounds as a side that is shorter than its padding needs."""
    while bottom or right:
        height, width = image.shape[-2:]
        down, across = min(bottom, height - 1), min(right, width - 1)
        if (bottom and not down) or (right and not across):  # one pixel has nothing to reflect
            return F.pad(image, (0, right, 0, bottom), mode="replicate")
        image = F.pad(image, (0, across, 0, down), mode="reflect")
        bottom, right = bottom - down, right - across
    return image
