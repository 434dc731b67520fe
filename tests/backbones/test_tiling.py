"""Tiles cover any image, and blending gives back what does not depend on the tile."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framer.backbones.tiling import Tiles
from framer.errors import UserError


@settings(deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(2, 64), st.data())
def test_tiles_cover_every_position_and_stay_inside(height, width, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    tiles = Tiles.plan(height, width, tile, overlap)
    assert tiles.size == (min(tile, height), min(tile, width))
    covered = torch.zeros(height, width, dtype=torch.int)
    for top, left in tiles.corners:
        assert 0 <= top <= height - tiles.size[0] and 0 <= left <= width - tiles.size[1]
        covered[top : top + tiles.size[0], left : left + tiles.size[1]] += 1
    assert covered.min() >= 1 and len(set(tiles.corners)) == len(tiles.corners)
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in tiles.corners})
        assert all(b - a <= tile - overlap for a, b in pairwise(starts))


def test_the_released_grid_of_a_1024_image():
    tiles = Tiles.plan(128, 128, 64, 24)
    assert sorted({top for top, _ in tiles.corners}) == [0, 40, 64] and len(tiles.corners) == 9
    assert Tiles.plan(64, 64, 64, 24).single


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 130), (1, 90), (7, 3)])
def test_blending_the_tiles_of_an_image_gives_the_image(height, width):
    image = torch.rand(1, 5, height, width, generator=torch.Generator().manual_seed(0))
    for tile, overlap, batch in ((32, 8, 1), (32, 31, 7), (16, 0, 4)):
        tiles = Tiles.plan(height, width, tile, overlap)
        blended = tiles.blend(lambda corners, t=tiles: t.cut(image, corners), batch)
        assert torch.allclose(blended, image, atol=1e-6)


def test_the_batch_does_not_change_the_result():
    tiles = Tiles.plan(40, 56, 16, 4)

    def function(corners):
        return torch.stack([torch.full((2, 16, 16), float(top * 100 + left)) for top, left in corners])

    one, many = tiles.blend(function, 1), tiles.blend(function, 100)
    assert torch.equal(one, many)


def test_a_blend_is_the_gaussian_mean_and_symmetric():
    """Two tiles side by side, 0 and 1: the weighted mean in closed form, and 1/2 in the middle."""
    tiles = Tiles.plan(1, 12, 8, 4)
    blended = tiles.blend(lambda corners: torch.full((1, 1, 1, 8), float(corners[0][1] > 0)), 1)[0, 0, 0]
    at = torch.arange(12.0)
    first, second = (torch.exp(-(((at - start - 3.5) / 8) ** 2) / 0.02) for start in (0, 4))
    expected = torch.where(at < 4, 0, torch.where(at >= 8, 1, second / (first + second)))
    assert torch.allclose(blended, expected, atol=1e-6)
    assert torch.allclose(blended + blended.flip(0), torch.ones(12), atol=1e-6)
    weight = Tiles.plan(10, 7, 64, 24).weight()
    assert torch.equal(weight, weight.flip(0)) and torch.equal(weight, weight.flip(1))


def test_an_overlap_as_long_as_the_tile_is_refused():
    with pytest.raises(UserError, match="overlap: 64 is not between 0 and the tile of 64"):
        Tiles.plan(128, 128, 64, 64)
