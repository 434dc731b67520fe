"""Resizing and padding of image tensors (B, C, H, W)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from framer.data.degradation.presets import SCALE

LONGEST = 4
"""A small image is enlarged until its short side fits a backbone, but its long side only to this many times that."""


def upsample(lr: Tensor) -> Tensor:
    """Bicubic x4, clamped: (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w) in [0, 1]."""
    return interpolate(lr).clamp(0, 1)


def upsample_torch(lr: Tensor) -> Tensor:
    """`upsample` with torch's kernel, a = -0.75, as the released training of DiT4SR upsamples LR."""
    return F.interpolate(lr, scale_factor=SCALE, mode="bicubic", align_corners=False).clamp(0, 1)


def interpolate(values: Tensor) -> Tensor:
    """Bicubic x4 as `upsample`, not clamped."""
    return resized(values, [SCALE * side for side in values.shape[-2:]])


def resized(values: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic to (height, width), not clamped.

    Pillow's kernel, a = -0.5, with which both released codes restore; torch's own, without antialiasing, has a = -0.75.
    """
    return F.interpolate(values, list(size), mode="bicubic", align_corners=False, antialias=True)


def resized_8_bit(image: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic to (height, width) in 256 levels of [0, 1], as Pillow resizes 8-bit images.

    Equal up to one level, since Pillow also rounds between its two passes.
    """
    return (resized(image, size).clamp(0, 1) * 255).round() / 255


def enlarged_size(height: int, width: int, least: int) -> tuple[int, int]:
    """The size to which a small image is enlarged before it is restored, with the same aspect ratio.

    Its short side becomes `least`, rounded down as in the released codes. An image that is too long for that is
    enlarged less, until its long side is `LONGEST` times `least`; large images keep their size.

    Args:
        height, width: size of the image, pixels.
        least: the shortest side that needs no enlarging, pixels.
    """
    short, long = sorted((height, width))
    if short >= least or long >= LONGEST * least:
        return height, width
    target, reference = min((least, short), (LONGEST * least, long), key=lambda scale: scale[0] / scale[1])
    return max(1, height * target // reference), max(1, width * target // reference)


def pad_to(image: Tensor, bottom: int, right: int) -> Tensor:
    """Pad (B, C, h, w) by reflection, in as many rounds as a side that is shorter than its padding needs."""
    while bottom or right:
        height, width = image.shape[-2:]
        down, across = min(bottom, height - 1), min(right, width - 1)
        if (bottom and not down) or (right and not across):  # a single pixel cannot be reflected
            return F.pad(image, (0, right, 0, bottom), mode="replicate")
        image = F.pad(image, (0, across, 0, down), mode="reflect")
        bottom, right = bottom - down, right - across
    return image
