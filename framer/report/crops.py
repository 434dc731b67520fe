"""Crops of one image in all arms: where they are taken, and how well they are stored."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framer.data.degradation.presets import SCALE

Pixels = NDArray[np.uint8]
"""(H, W, 3)."""
STEP = 16
"""HR pixels between the places that are compared; whole LR pixels."""


@dataclass(frozen=True)
class Level:
    """How much of each image is stored, and how well.

    Attributes:
        side: largest side of a crop, HR pixels.
        places: crops of each image.
        quality: of WebP; None for lossless. LR is always lossless.
    """

    side: int
    places: int
    quality: int | None

    @property
    def text(self) -> str:
        """The level in words."""
        if self.quality is None:
            return f"lossless crops of up to {self.side} pixels"
        return f"crops of up to {self.side} pixels in WebP of quality {self.quality}; judge fine texture by the files"


LEVELS = (
    Level(256, 2, None),
    Level(256, 2, 90),
    Level(192, 2, 85),
    Level(128, 2, 85),
    Level(128, 1, 80),
    Level(96, 1, 70),
)
"""From the best on; the best one that fits is taken."""


def data_uri(image: Pixels, quality: int | None = None) -> str:
    """An image as a data URI; lossless where `quality` is None."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", lossless=quality is None, quality=quality or 60)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def places(images: Sequence[Pixels], compared: tuple[int, int], level: Level) -> dict[str, tuple[int, int]]:
    """Where crops are taken: top and left by name, on whole LR pixels.

    Args:
        images: of all arms; those of `compared` decide where the difference is largest.
        compared: the baseline and its FRAMER, or whichever two are compared first.
        level: how large crops are, and how many.
    """
    one, other = (images[number] for number in compared)
    height, width = max((one, other), key=lambda image: image.shape[0]).shape[:2]
    top, left = (max(0, length - level.side) // 2 // SCALE * SCALE for length in (height, width))
    found = {"centre": (top, left)}
    if level.places > 1 and one.shape == other.shape and max(height, width) > level.side:
        spot = _most_different(np.abs(one.astype(np.int64) - other).sum(-1), level.side)
        if spot not in found.values():
            found["largest difference"] = spot
    return found


def _most_different(difference: NDArray[np.int64], side: int) -> tuple[int, int]:
    """The window with the largest sum, the first of equal ones; from an integral image."""
    total = np.pad(difference, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    height, width = (min(side, length) for length in difference.shape)
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    top, left = np.unravel_index(np.argmax(sums[::STEP, ::STEP]), sums[::STEP, ::STEP].shape)
    return int(top) * STEP, int(left) * STEP


def crops(image: Pixels, spots: Mapping[str, tuple[int, int]], level: Level, *, is_lr: bool) -> Iterator[str]:
    """The crops of an image as data URIs, those of LR of the same places."""
    step = SCALE if is_lr else 1
    for top, left in spots.values():
        top, left, side = top // step, left // step, level.side // step
        yield data_uri(image[top : top + side, left : left + side], None if is_lr else level.quality)
