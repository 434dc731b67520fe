"""The images of a report: the same crop of LR, every row and HR, small enough to lie inside one HTML file."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framer.data.images import list_images, read_rgb
from framer.study import Study

SIDE = 128
"""Largest side of a crop, HR pixels."""
SCALE = 4
MAX_STRIPS = 24
"""Images shown a set."""
MAX_BYTES = 3_300_000
"""Encoded images a set; base64 adds a third."""


@dataclass(frozen=True)
class Tile:
    """One picture: `uri` is a data URI of a lossless image."""

    label: str
    uri: str
    score: str = ""
    """A metric's value for this image, as in `PSNR 28.31`."""


@dataclass(frozen=True)
class Strip:
    """One test image: LR, every arm (its first training seed) and HR."""

    image: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Gallery:
    """Some images of one set."""

    set: str
    strips: tuple[Strip, ...]
    count: int
    """Images that the set has."""


ImageScores = dict[str, dict[str, str]]
"""By arm and image stem: what to print below a picture."""


def galleries(study: Study, datasets: Path, scores: dict[str, ImageScores]) -> list[Gallery]:
    """Strips for the sets whose images are on this machine, evenly spaced over each set, until its space is used.

    Args:
        study: its `out / "images" / ROW / SET` are shown.
        datasets: where the pairs lie, `SET / LR` and `SET / HR`.
        scores: by set; may lack any entry.
    """
    sets = [name for name in study.config.sets if (datasets / name / "LR").is_dir()]
    return [_gallery(study, datasets / name, scores.get(name, {})) for name in sets]


def data_uri(image: NDArray[np.uint8]) -> str:
    """An (H, W, 3) uint8 image as a data URI, lossless."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", lossless=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


@dataclass(frozen=True)
class _Source:
    """Where one column of pictures comes from."""

    label: str
    images: dict[str, Path]
    side: int
    scores: dict[str, str]


def _gallery(study: Study, pairs: Path, scores: ImageScores) -> Gallery:
    sources = list(_sources(study, pairs, scores))
    stems = list(sources[0].images)
    strips: list[Strip] = []
    budget = MAX_BYTES
    for stem in _evenly(stems, MAX_STRIPS):
        tiles = tuple(_tile(source, stem) for source in sources if stem in source.images)
        budget -= sum(len(tile.uri) * 3 // 4 for tile in tiles)
        if budget < 0:
            break
        strips.append(Strip(stem, tiles))
    return Gallery(pairs.name, tuple(strips), len(stems))


def _sources(study: Study, pairs: Path, scores: ImageScores) -> Iterator[_Source]:
    yield _Source("LR", list_images(pairs / "LR"), SIDE // SCALE, {})
    first_rows = {row.arm: row.id for row in reversed(study.rows.values())}
    for arm, config in study.config.arms.items():
        folder = study.out / "images" / first_rows[arm] / pairs.name
        if folder.is_dir():
            yield _Source(config.label, list_images(folder), SIDE, scores.get(arm, {}))
    if (pairs / "HR").is_dir():
        yield _Source("HR", list_images(pairs / "HR"), SIDE, {})


def _tile(source: _Source, stem: str) -> Tile:
    crop = _centre(read_rgb(source.images[stem]), source.side)
    return Tile(source.label, data_uri(crop), source.scores.get(stem, ""))


def _centre(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle of an image, starting on a whole LR pixel so that LR and HR crops show the same place."""
    step = SCALE if side == SIDE else 1
    top, left = (max(0, length - side) // 2 // step * step for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _evenly(names: list[str], count: int) -> list[str]:
    return [names[i * len(names) // count] for i in range(count)] if len(names) > count else names
