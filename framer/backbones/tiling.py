"""Overlapping tiles for images that are too large for one pass, in batches, blended by Gaussian weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from framer.errors import UserError

VARIANCE = 0.01
"""Variance of the Gaussian weight, in squared tile sides: the standard deviation is a tenth of a side."""

Corner = tuple[int, int]


@dataclass(frozen=True)
class Tiles:
    """The positions of the tiles of one image. All have one size, and the last of a row or column ends at the border.

    Attributes:
        height, width: size of the image, pixels or latent positions.
        size: (h, w) of every tile; a side of the image that is shorter than a tile has one tile of its length.
        corners: (top, left) of each tile, row by row.
    """

    height: int
    width: int
    size: tuple[int, int]
    corners: tuple[Corner, ...]

    @classmethod
    def plan(cls, height: int, width: int, tile: int, overlap: int) -> "Tiles":
        """Cover an image with tiles.

        Args:
            height, width: size of the image, at least 1.
            tile: side of a tile, in the image's unit.
            overlap: minimum overlap of neighboring tiles, in [0, tile).

        Raises:
            UserError: the overlap is as long as the tile, or negative.
        """
        if not 0 <= overlap < tile:
            raise UserError(f"{overlap} is not between 0 and the tile of {tile}", key="overlap")
        rows, columns = (_starts(side, min(tile, side), tile - overlap) for side in (height, width))
        size = min(tile, height), min(tile, width)
        return cls(height, width, size, tuple((row, column) for row in rows for column in columns))

    @property
    def single(self) -> bool:
        """Whether one tile covers the whole image."""
        return len(self.corners) == 1

    def cut(self, image: Tensor, corners: tuple[Corner, ...]) -> Tensor:
        """Cut tiles out of an image: (1, C, H, W) -> (tiles, C, h, w)."""
        h, w = self.size
        return torch.cat([image[..., top : top + h, left : left + w] for top, left in corners])

    def batches(self, size: int) -> Iterator[tuple[Corner, ...]]:
        """Iterate over the corners, at most `size` at a time."""
        for start in range(0, len(self.corners), size):
            yield self.corners[start : start + size]

    def weight(self, device: torch.device | str = "cpu") -> Tensor:
        """Compute the Gaussian weight of a tile's positions, (h, w) float32, symmetric, largest in the middle."""
        rows, columns = (_bell(side, device) for side in self.size)
        return rows[:, None] * columns[None, :]

    def blend(self, function: Callable[[tuple[Corner, ...]], Tensor], batch: int) -> Tensor:
        """Apply a function to the tiles and blend the results: their weighted mean, float32.

        Args:
            function: maps the corners of up to `batch` tiles to their results (tiles, C, h, w).
            batch: number of tiles at a time.

        Returns:
            (1, C, height, width).
        """
        if self.single:
            return function(self.corners).float()
        h, w = self.size
        total = norm = weight = None
        for corners in self.batches(batch):
            results = function(corners).float()
            if total is None or norm is None or weight is None:
                weight = self.weight(results.device)
                total = results.new_zeros(1, results.shape[1], self.height, self.width)
                norm = results.new_zeros(self.height, self.width)
            for (top, left), result in zip(corners, results, strict=True):
                rows, columns = slice(top, top + h), slice(left, left + w)
                total[0, :, rows, columns] += result * weight
                norm[rows, columns] += weight
        assert total is not None and norm is not None
        return total / norm


def _starts(side: int, tile: int, stride: int) -> list[int]:
    """Start positions of tiles: every `stride`, and one that ends at the border."""
    return [*range(0, side - tile, stride), side - tile]


def _bell(side: int, device: torch.device | str) -> Tensor:
    at = (torch.arange(side, device=device, dtype=torch.float32) - (side - 1) / 2) / side
    return torch.exp(-(at**2) / (2 * VARIANCE))
