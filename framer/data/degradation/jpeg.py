"""JPEG there and back, 4:2:0: by libjpeg on the CPU, and the same to the bit in tensor arithmetic on any device.

libjpeg's slow integer transform is linear up to the rounding that ends each of its passes, so a pass is a product with
an integer matrix, exact in float64. Images are (3, H, W) in levels; they are clipped to [0, 255] and rounded first.
"""

import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from framer.data.degradation.operations import whole


def libjpeg(images: Sequence[Tensor], qualities: Sequence[int]) -> list[Tensor]:
    """Encode and decode each image (3, H, W) at its quality, 1 to 100. Returns whole levels, uint8."""
    return [_libjpeg(image, quality) for image, quality in zip(images, qualities, strict=True)]


def _libjpeg(image: Tensor, quality: int) -> Tensor:
    planes = whole(image).to("cpu", torch.uint8).numpy()
    file = io.BytesIO()
    # Pillow takes planes apart and puts them together faster than torch permutes them.
    Image.merge("RGB", [Image.fromarray(plane) for plane in planes]).save(file, "JPEG", quality=quality, subsampling=2)
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in Image.open(file).split()]))


# The matrix of one pass of the forward transform, times 2^13, on the sums (even rows) and differences (odd rows) of
# samples n and 7 - n. The odd part is not quite the rounded cosines: libjpeg adds up rounded constants.
_EVEN = (
    (8192, 8192, 8192, 8192),
    (10703, 4433, -4433, -10703),
    (8192, -8192, -8192, 8192),
    (4433, -10704, 10704, -4433),
)
_ODD = (
    (11363, 9633, 6437, 2260),
    (9633, -2259, -11362, -6436),
    (6437, -11362, 2261, 9633),
    (2260, -6436, 9633, -11363),
)
_BITS, _EXTRA = 13, 2

# ITU-T T.81, Annex K: luminance and chrominance at quality 50.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))


@lru_cache
def _transform(device: torch.device) -> Tensor:
    rows = []
    for even, odd in zip(_EVEN, _ODD, strict=True):
        rows += [[*even, *even[::-1]], [*odd, *(-c for c in odd[::-1])]]
    return torch.tensor(rows, dtype=torch.float64, device=device)


@lru_cache
def _tables(quality: int, device: torch.device) -> Tensor:
    """Quantisation steps (2, 8, 8) of luma and chroma, scaled as libjpeg scales them, in float64."""
    chroma = torch.full((8, 8), 99)
    chroma[:4, :4] = torch.tensor(_CHROMA_CORNER)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = (torch.stack([torch.tensor(_LUMA), chroma]) * scale + 50) // 100
    return steps.clamp(1, 255).to(device, torch.float64)


def tensor_jpeg(images: Sequence[Tensor], qualities: Sequence[int]) -> list[Tensor]:
    """`libjpeg` without libjpeg: equal to the bit, on the images' device, the blocks of all images at once."""
    planes = [plane for image in images for plane in _to_planes(whole(image.double()))]
    steps = [
        table.expand(plane.shape[0] * plane.shape[1] // 64, 8, 8)
        for i, quality in enumerate(qualities)
        for plane, table in zip(planes[3 * i : 3 * i + 3], _tables(quality, images[0].device)[[0, 1, 1]], strict=True)
    ]
    coded = _code(torch.cat([_to_blocks(plane) for plane in planes]), torch.cat(steps)).split([len(s) for s in steps])
    decoded = [_from_blocks(blocks, plane.shape) for blocks, plane in zip(coded, planes, strict=True)]
    return [_to_image(decoded[3 * i : 3 * i + 3], image) for i, image in enumerate(images)]


def _code(blocks: Tensor, steps: Tensor) -> Tensor:
    """Transform, quantise and transform back samples (N, 8, 8), 0 to 255."""
    m = _transform(blocks.device)
    spectrum = _rounded((blocks - 128) @ m.mT, _BITS - _EXTRA)
    spectrum = _rounded(m @ spectrum, _BITS + _EXTRA)  # 8 times the transform
    levels = spectrum.sign() * ((spectrum.abs() + (4 * steps)) / (8 * steps)).floor()
    samples = _rounded(m.mT @ (levels * steps), _BITS - _EXTRA)
    return (_rounded(samples @ m, _BITS + _EXTRA + 3) + 128).clamp(0, 255)


def _rounded(x: Tensor, bits: int) -> Tensor:
    """x / 2^bits to whole numbers, halves up."""
    return ((x + 2 ** (bits - 1)) * 2.0**-bits).floor()


def _to_planes(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Y, Cb, Cr, the latter two of half the size, each padded to whole blocks as libjpeg pads."""
    r, g, b = rgb
    luma = ((19595 * r + 38470 * g + 7471 * b + 32768) / 65536).floor()
    blue = ((-11059 * r - 21709 * g + 32768 * b + 32767) / 65536).floor() + 128
    red = ((32768 * r - 27439 * g - 5329 * b + 32767) / 65536).floor() + 128
    return _padded(luma, 8, 8), _halved(blue), _halved(red)


def _padded(plane: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the last row and column up to multiples of `rows` and `columns`."""
    h, w = plane.shape
    return F.pad(plane[None], (0, -w % columns, 0, -h % rows), mode="replicate")[0]


def _halved(plane: Tensor) -> Tensor:
    """Means of 2 x 2, halves rounded down and up in turn along a row."""
    wide = _padded(plane, 2, 16)
    sums = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    bias = 1 + torch.arange(sums.shape[1], device=plane.device) % 2
    return _padded(((sums + bias) / 4).floor(), 8, 8)


def _to_blocks(plane: Tensor) -> Tensor:
    h, w = plane.shape
    return plane.reshape(h // 8, 8, w // 8, 8).transpose(1, 2).reshape(-1, 8, 8)


def _from_blocks(blocks: Tensor, shape: torch.Size) -> Tensor:
    h, w = shape
    return blocks.reshape(h // 8, w // 8, 8, 8).transpose(1, 2).reshape(h, w)


def _to_image(planes: Sequence[Tensor], like: Tensor) -> Tensor:
    h, w = like.shape[-2:]
    luma = planes[0][:h, :w]
    blue, red = (_doubled(plane[: (h + 1) // 2, : (w + 1) // 2])[:h, :w] - 128 for plane in planes[1:])
    rgb = (
        luma + ((91881 * red + 32768) / 65536).floor(),
        luma + ((-22554 * blue - 46802 * red + 32768) / 65536).floor(),
        luma + ((116130 * blue + 32768) / 65536).floor(),
    )
    return torch.stack(rgb).clamp(0, 255).to(torch.uint8)


def _doubled(plane: Tensor) -> Tensor:
    """libjpeg's smooth enlargement: weights 3/4 and 1/4 each way; plain repetition of planes up to 2 wide."""
    if plane.shape[1] <= 2:
        return plane.repeat_interleave(2, 0).repeat_interleave(2, 1)
    above, below = torch.cat([plane[:1], plane[:-1]]), torch.cat([plane[1:], plane[-1:]])
    rows = torch.stack([3 * plane + above, 3 * plane + below], 1).flatten(0, 1)
    left, right = torch.cat([rows[:, :1], rows[:, :-1]], 1), torch.cat([rows[:, 1:], rows[:, -1:]], 1)
    columns = torch.stack([3 * rows + left + 8, 3 * rows + right + 7], 2).flatten(1, 2)
    return (columns / 16).floor()
