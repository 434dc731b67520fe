"""Pairs of LR and HR: found in two folders by file stem, or made of photographs on the fly."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import correlate1d

from framer.data.captions import photograph_name
from framer.data.degradation.pipeline import apply, draw, target
from framer.data.degradation.presets import SCALE, Degradation
from framer.data.image_folder import verify
from framer.data.images import image_size, list_images, read_rgb
from framer.errors import UserError

Crops = Literal["any", "textured"]
Augmentation = Literal["flip", "flip_rotate"]

MEMORY = 2**30
"""Decoded photographs are kept in memory up to this many bytes in all."""

LEAST_AREA, LEAST_BYTES = 384 * 384, 100 * 1024
"""Photographs with fewer pixels, or in smaller files, are not used where crops must be textured."""
TRIES, TEXTURE = 50, 0.2
"""How often a crop is drawn anew where it must be textured, and the mean gradient that it must exceed."""


def to_tensor(rgb: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float() / 255


def to_rgb(image: torch.Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to (H, W, 3) uint8, clipped and rounded."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def mirrored(image: np.ndarray, side: int) -> np.ndarray:
    """Continue an image to the right and downwards until no side is shorter than `side`; of a larger one, nothing.

    It is mirrored at its last row or column, which is not repeated, and back again at its first, as often as it takes.

    Args:
        image: (H, W, C).
        side: pixels.

    Returns:
        (max(H, side), max(W, side), C).
    """
    for axis, length in enumerate(image.shape[:2]):
        if length < side:
            there_and_back = np.arange(side) % max(1, 2 * (length - 1))
            image = image.take(length - 1 - abs(there_and_back - (length - 1)), axis)
    return image


def texture(crop: np.ndarray) -> float:
    """Mean magnitude of the 3x3 Sobel gradient over pixels and channels.

    Args:
        crop: (H, W, C), uint8.

    Returns:
        In units of the [0, 1] range; the kernels are not normalized, so that a step edge of height 1 gives up to 4.
    """
    image = crop.astype(np.float32) / 255
    slopes = [
        correlate1d(correlate1d(image, [-1, 0, 1], along, mode="mirror"), [1, 2, 1], across, mode="mirror")
        for along, across in ((0, 1), (1, 0))
    ]
    return float(np.hypot(*slopes).mean())


class Epochs:
    """An endless order of finitely many pairs: each once per epoch, every epoch in another order."""

    def __init__(self, count: int, seed: int):
        self.count, self.seed = count, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __call__(self, k: int) -> int:
        """The number of the pair at place k."""
        epoch, place = divmod(k, self.count)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)
        return int(self._order[place])


def endless(k: int) -> int:
    """The order of a stream in which no pair comes twice."""
    return k


class TrainingPairs:
    """An endless stream of training pairs, each a pure function of (seed, its number).

    Pair number k takes its photograph, flip, crop, quarter turns and degradation from `numpy.random.default_rng([seed,
    k])`, so that it does not depend on batches, workers and ranks. A photograph that is smaller than the crop is
    continued by its mirror image.

    With `crops="textured"` the photographs and crops are selected as in the data loader of DiT4SR's and FRAMER's
    released code: photographs below `LEAST_AREA` or `LEAST_BYTES` are not drawn, and a crop is drawn up to `TRIES`
    times, until its `texture` exceeds `TEXTURE`; the last one is used as it is.
    """

    def __init__(
        self,
        folders: list[Path],
        crop: int,
        preset: str,
        seed: int,
        order: Callable[[int], int] = endless,
        *,
        crops: Crops = "any",
        augmentation: Augmentation = "flip",
    ):
        """
        Args:
            folders: HR photographs, each a folder of a set (`SET/HR`); the sets are joined in this order.
            crop: side of the HR crops, pixels; a multiple of 4.
            preset: a name in `framer.data.degradation.presets.PRESETS`.
            seed: non-negative.
            order: number of the pair at each place of the stream.
            crops: "any", or "textured" ones only.
            augmentation: "flip" mirrors half of the crops horizontally; "flip_rotate" also turns them by 0 to 3
                quarter turns.

        Raises:
            UserError: a folder holds no image, an image is not the one that its set's index lists, the preset is
                unknown, or no photograph is large enough for textured crops.
        """
        self.degradation = Degradation.named(preset)
        for folder in folders:
            verify(folder)
        if crop % SCALE:
            raise UserError(f"{crop} is no multiple of {SCALE}", key="crop")
        self.paths = [path for folder in folders for path in list_images(folder).values()]
        self.crop, self.seed, self.order = crop, seed, order
        self.textured, self.rotated = crops == "textured", augmentation == "flip_rotate"
        if self.textured:
            self.paths = [path for path in self.paths if _is_large(path)]
            if not self.paths:
                least = f"{LEAST_AREA} pixels and {LEAST_BYTES // 1024} KiB"
                raise UserError(f"no photograph has {least}; set crops: any", key="crops", code="missing")
        pixels = 0
        for path in self.paths:
            width, height = image_size(path)
            pixels += max(width, crop) * max(height, crop)
        self._kept: dict[int, np.ndarray] | None = {} if 3 * pixels <= MEMORY else None

    def batch(self, step: int, size: int) -> tuple[tuple[str, ...], torch.Tensor, torch.Tensor]:
        """The pairs at places step * size to step * size + size - 1.

        Returns:
            Photographs as SET/STEM, LR (size, 3, crop / 4, crop / 4) and HR (size, 3, crop, crop), float32 in [0, 1].
        """
        stems, lr, hr = zip(*(self.pair(self.order(step * size + i)) for i in range(size)), strict=True)
        return stems, torch.stack(lr), torch.stack(hr)

    def pair(self, k: int) -> tuple[str, torch.Tensor, torch.Tensor]:
        """Pair number k.

        Returns:
            The photograph as SET/STEM, LR (3, crop / 4, crop / 4) and HR (3, crop, crop), float32 in [0, 1].
        """
        rng = np.random.default_rng([self.seed, k])
        index = int(rng.integers(len(self.paths)))
        photograph = self._photograph(index)
        flipped = rng.random() < 0.5
        for _ in range(TRIES if self.textured else 1):
            top, left = (int(rng.integers(side - self.crop + 1)) for side in photograph.shape[:2])
            crop = photograph[top : top + self.crop, left : left + self.crop]
            if self.textured and texture(crop) > TEXTURE:
                break
        crop = crop[:, ::-1] if flipped else crop
        crop = np.rot90(crop, int(rng.integers(4))) if self.rotated else crop
        hr = target(to_tensor(crop), self.degradation)
        return photograph_name(self.paths[index]), apply(hr, draw(self.degradation, rng, self.crop, self.crop)), hr

    def _photograph(self, index: int) -> np.ndarray:
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        photograph = mirrored(read_rgb(self.paths[index]), self.crop)
        if self._kept is not None:
            self._kept[index] = photograph
        return photograph


def _is_large(path: Path) -> bool:
    width, height = image_size(path)
    return width * height >= LEAST_AREA and path.stat().st_size >= LEAST_BYTES
