"""The images of a report: the same crop of LR, every row and HR, small enough to lie inside one HTML file."""

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framer.data.degradation.presets import SCALE
from framer.data.images import list_images, read_rgb
from framer.provenance.cards import CARD
from framer.report.claims import Claim, baseline_of
from framer.report.main_table import signed
from framer.study.study import Study

SIDE = 128
"""Largest side of a crop, HR pixels."""
MAX_STRIPS = 24
"""Images shown a set."""
MAX_BYTES = 3_300_000
"""Encoded images a set; base64 adds a third."""
EXTREMES = 3
"""Best and worst images named for each claim."""
CUTOFF = 0.2
"""Between low and high frequencies, as a share of the highest one along an axis; the paper's rings."""
GAIN = 2.0
"""How much stronger differences are shown."""


@dataclass(frozen=True)
class Tile:
    """One picture: `uri` is a data URI of a lossless image; `low` and `high` show its differences to the reference."""

    label: str
    uri: str
    score: str = ""
    """A metric's value for this image, as in `PSNR 28.31`."""
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Strip:
    """One test image: LR, every arm (its first training seed) and HR. `left` and `right` are first compared."""

    image: str
    tiles: tuple[Tile, ...]
    left: int
    right: int


@dataclass(frozen=True)
class Extreme:
    """The images on which FRAMER gains most and loses most against its baseline in one metric."""

    text: str
    best: tuple[tuple[str, str], ...]
    worst: tuple[tuple[str, str], ...]
    """Stem and difference, from the most extreme on."""


@dataclass(frozen=True)
class Gallery:
    """Some images of one set."""

    set: str
    strips: tuple[Strip, ...]
    count: int
    """Images that the set has."""
    extremes: tuple[Extreme, ...]
    rest: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Stems that are not shown, each with labels and links relative to the page."""

    @property
    def shown(self) -> dict[str, int]:
        """The number of each strip, from 1."""
        return {strip.image: number for number, strip in enumerate(self.strips, 1)}


ImageScores = dict[str, dict[str, str]]
"""By arm and image stem: what to print below a picture."""


def galleries(
    study: Study, datasets: Path, scores: dict[str, ImageScores], extremes: dict[str, tuple[Extreme, ...]], page: Path
) -> list[Gallery]:
    """Strips for the sets whose images are on this machine: the most extreme ones, then evenly over each set.

    Args:
        study: its restored images are shown.
        datasets: where the pairs lie, `SET / LR` and `SET / HR`.
        scores: by set; may lack any entry.
        extremes: by set; may lack any entry.
        page: the HTML file, from whose folder links start.
    """
    sets = [name for name in study.config.sets if (datasets / name / "LR").is_dir()]
    return [_gallery(study, datasets / n, scores.get(n, {}), extremes.get(n, ()), page.parent) for n in sets]


def extremes_of(claims: Sequence[Claim], stems: dict[str, tuple[str, ...]]) -> dict[str, tuple[Extreme, ...]]:
    """By set: where FRAMER gains and loses most, a metric and arm at a time.

    Args:
        claims: those without values per image are left out.
        stems: the images of each set, in the order of the claims' values.
    """
    found: dict[str, tuple[Extreme, ...]] = {}
    for claim in claims:
        by_image, metric = claim.by_image, claim.ours.metric
        if by_image is None or len(by_image) != len(stems[claim.ours.set]):
            continue
        order = np.argsort(-by_image if metric.higher_is_better else by_image, kind="stable")
        named = [(stems[claim.ours.set][i], signed(float(by_image[i]), metric.digits)) for i in order]
        text = f"{claim.label} against {claim.baseline_label}, {metric.heading}"
        extreme = Extreme(text, tuple(named[:EXTREMES]), tuple(named[: -EXTREMES - 1 : -1]))
        found[claim.ours.set] = (*found.get(claim.ours.set, ()), extreme)
    return found


def data_uri(image: NDArray[np.uint8], *, lossless: bool = True) -> str:
    """An (H, W, 3) uint8 image as a data URI."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", lossless=lossless, quality=60)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def bands(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The difference of two images in low and in high frequencies, on grey and `GAIN` times as strong.

    Without clipping, the two minus grey add up to the whole difference.

    Args:
        image: (H, W, 3).
        reference: the same shape.
    """
    difference = image.astype(np.float64) - reference
    height, width = difference.shape[:2]
    low_pass = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) < CUTOFF / 2
    spectrum = np.fft.rfft2(difference, axes=(0, 1)) * low_pass[..., None]
    low = np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    shown = [np.clip(np.rint(128 + GAIN * part), 0, 255).astype(np.uint8) for part in (low, difference - low)]
    return shown[0], shown[1]


@dataclass(frozen=True)
class _Source:
    """Where one column of pictures comes from."""

    label: str
    images: dict[str, Path]
    side: int
    scores: dict[str, str]


def _gallery(study: Study, pairs: Path, scores: ImageScores, extremes: tuple[Extreme, ...], folder: Path) -> Gallery:
    sources = list(_sources(study, pairs, scores))
    stems = list(sources[0].images)
    named = [stem for extreme in extremes for stem, _ in (*extreme.worst[:1], *extreme.best[:1]) if stem in stems]
    chosen = dict.fromkeys([*named[:MAX_STRIPS], *_evenly(stems, MAX_STRIPS)])
    strips: list[Strip] = []
    budget = MAX_BYTES
    for stem in list(chosen)[:MAX_STRIPS]:
        tiles = tuple(_tiles(sources, stem))
        budget -= sum(len(text) * 3 // 4 for tile in tiles for text in (tile.uri, tile.low, tile.high))
        if budget < 0:
            break
        strips.append(Strip(stem, tiles, *_compared(study, [tile.label for tile in tiles])))
    shown = {strip.image for strip in strips}
    rest = tuple((stem, tuple(_links(sources, stem, folder))) for stem in stems if stem not in shown)
    return Gallery(pairs.name, tuple(strips), len(stems), extremes, rest)


def _compared(study: Study, labels: list[str]) -> tuple[int, int]:
    """The first baseline and its FRAMER, where both are shown; otherwise the first two after LR."""
    for arm in study.config.arms:
        if base := baseline_of(study, arm):
            pair = (study.config.arms[base].label, study.config.arms[arm].label)
            if set(pair) <= set(labels):
                return labels.index(pair[0]), labels.index(pair[1])
    return min(1, len(labels) - 1), min(2, len(labels) - 1)


def _links(sources: list[_Source], stem: str, folder: Path) -> Iterator[tuple[str, str]]:
    for source in sources:
        if stem in source.images:
            yield source.label, Path(os.path.relpath(source.images[stem], folder)).as_posix()


def restored(study: Study, set_id: str) -> dict[str, Path]:
    """The folder of each arm's images of a set, those of its first training seed, where they are here; no ablations."""
    first = {row.arm: row.id for row in reversed(study.rows.values())}
    folders = {arm: study.paths.images(first[arm], set_id) for arm in study.config.arms}
    return {arm: folder for arm, folder in folders.items() if (folder / CARD).is_file()}  # it is written last


def _sources(study: Study, pairs: Path, scores: ImageScores) -> Iterator[_Source]:
    yield _Source("LR", list_images(pairs / "LR"), SIDE // SCALE, {})
    for arm, folder in restored(study, pairs.name).items():
        yield _Source(study.config.arms[arm].label, list_images(folder), SIDE, scores.get(arm, {}))
    if (pairs / "HR").is_dir():
        yield _Source("HR", list_images(pairs / "HR"), SIDE, {})


def _tiles(sources: list[_Source], stem: str) -> Iterator[Tile]:
    """LR first, as it is; then the others, each with its difference to the last of them (HR) or to the first."""
    having = [source for source in sources if stem in source.images]
    crops = [_centre(read_rgb(source.images[stem]), source.side) for source in having]
    reference = crops[-1] if having[-1].label == "HR" else crops[min(1, len(crops) - 1)]
    for source, crop in zip(having, crops, strict=True):
        score = source.scores.get(stem, "")
        if crop.shape != reference.shape:
            yield Tile(source.label, data_uri(crop), score)
            continue
        low, high = (data_uri(part, lossless=False) for part in bands(crop, reference))
        yield Tile(source.label, data_uri(crop), score, low, high)


def _centre(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle of an image, starting on a whole LR pixel so that LR and HR crops show the same place."""
    step = SCALE if side == SIDE else 1
    top, left = (max(0, length - side) // 2 // step * step for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _evenly(names: list[str], count: int) -> list[str]:
    return [names[i * len(names) // count] for i in range(count)] if len(names) > count else names
