"""The images of a report: the same crops of LR, every arm and HR, small enough to lie inside one HTML file."""

import json
import os
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from framer.data.degradation.presets import SCALE
from framer.data.images import list_images, read_rgb
from framer.provenance.cards import CARD
from framer.report.claims import baseline_of, judged_arms
from framer.report.crops import LEVELS, Level, Pixels, crops, places
from framer.report.image_scores import Column, Extreme
from framer.report.power_spectrum import BINS, decibels
from framer.study.study import Study

MAX_BYTES = 8_800_000
"""Characters of all pictures of a page and their spectra, which leaves room for its tables and cards below 10 MB."""
MARKUP = 150
"""Characters around each picture."""
SPECTRUM = 5 * BINS
"""Characters of the spectrum of a whole image, at most."""
SAMPLE = 6
"""Images of a set from which the size of all is estimated."""
CUTOFF = 0.2
"""Between low and high frequencies, as a share of the highest one along an axis; the paper's rings."""
SIGMA = 0.3748 / CUTOFF
"""Pixels: the standard deviation of the Gaussian whose response at the cutoff is a half, sqrt(2 ln 2) / (pi CUTOFF)."""


@dataclass(frozen=True)
class Tile:
    """One column of pictures: `uris` are data URIs, one a crop; `spectrum` has the levels of the whole image."""

    label: str
    uris: tuple[str, ...]
    spectrum: str = ""


@dataclass(frozen=True)
class Strip:
    """One test image: LR, every arm (its first training seed) and HR."""

    image: str
    side: int
    """The longer side of a crop, HR pixels."""
    crops: tuple[str, ...]
    tiles: tuple[Tile, ...]
    links: tuple[tuple[str, str], ...]
    """Labels, and links to the files, relative to the page."""

    @property
    def size(self) -> int:
        """Characters on the page."""
        return sum(SPECTRUM + sum(len(uri) + MARKUP for uri in tile.uris) for tile in self.tiles)


@dataclass(frozen=True)
class Gallery:
    """The images of one set."""

    set: str
    labels: tuple[str, ...]
    left: str
    right: str
    """First compared."""
    reference: str
    """What differences are to: HR, or the first arm where there is none."""
    level: Level
    strips: tuple[Strip, ...]
    count: int
    """Images that the set has."""
    extremes: tuple[Extreme, ...]
    values: str
    """Scores of single images as JSON: by metric, then by what it is of, then by stem."""
    rest: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Stems that did not fit, each with labels and links."""

    @property
    def shown(self) -> dict[str, int]:
        """The number of each strip, from 1."""
        return {strip.image: number for number, strip in enumerate(self.strips, 1)}


@dataclass(frozen=True)
class _Source:
    """Where one column of pictures comes from."""

    label: str
    images: dict[str, Path]


def galleries(
    study: Study,
    datasets: Path,
    columns: dict[str, tuple[Column, ...]],
    extremes: dict[str, tuple[Extreme, ...]],
    page: Path,
) -> list[Gallery]:
    """The sets whose images are on this machine, each with its share of `MAX_BYTES` by its number of images.

    Args:
        study: its restored images are shown.
        datasets: where the pairs lie, `SET / LR` and `SET / HR`.
        columns: by set; may lack any entry.
        extremes: by set; may lack any entry. Where not all images fit, these are shown first.
        page: the HTML file, from whose folder links start.
    """
    sets = [name for name in study.config.sets if (datasets / name / "LR").is_dir()]
    found = {name: list(_sources(study, datasets / name)) for name in sets}
    total = sum(len(sources[0].images) for sources in found.values())
    return [
        _gallery(study, name, sources, total, columns.get(name, ()), extremes.get(name, ()), page.parent)
        for name, sources in found.items()
        if sources[0].images
    ]


def _gallery(
    study: Study,
    name: str,
    sources: list[_Source],
    total: int,
    columns: Sequence[Column],
    extremes: tuple[Extreme, ...],
    folder: Path,
) -> Gallery:
    labels = [source.label for source in sources]
    left, right = _compared(study, labels)
    stems = list(sources[0].images)
    budget = MAX_BYTES * len(stems) // total
    level = _level(sources, _evenly(stems, SAMPLE), (left, right), budget // len(stems), folder)
    named = [stem for extreme in extremes for stem, _ in (*extreme.worst[:1], *extreme.best[:1]) if stem in stems]
    strips: dict[str, Strip] = {}
    for stem in dict.fromkeys([*named, *_evenly(stems, max(1, len(stems) // 2)), *stems]):
        strip = _strip(sources, stem, (left, right), level, folder, spectra=True)
        budget -= strip.size
        if budget < 0:
            break
        strips[stem] = strip
    return Gallery(
        name,
        tuple(labels),
        left,
        right,
        labels[-1] if labels[-1] == "HR" else labels[min(1, len(labels) - 1)],
        level,
        tuple(strips[stem] for stem in stems if stem in strips),
        len(stems),
        extremes,
        _values(columns, strips),
        tuple((stem, _links(sources, stem, folder)) for stem in stems if stem not in strips),
    )


def _level(sources: list[_Source], sample: list[str], compared: tuple[str, str], budget: int, folder: Path) -> Level:
    """The best level at which an image takes no more than `budget` characters, on average over a sample."""
    for level in LEVELS:
        sizes = [_strip(sources, stem, compared, level, folder).size for stem in sample]
        if sum(sizes) <= budget * len(sizes) * 0.9:
            return level
    return LEVELS[-1]


def _compared(study: Study, labels: list[str]) -> tuple[str, str]:
    """The first baseline and its FRAMER, where both are shown; otherwise the first two after LR."""
    for arm in study.config.arms:
        if base := baseline_of(study, arm):
            pair = (study.arms[base].title, study.arms[arm].title)
            if set(pair) <= set(labels):
                return pair
    return labels[min(1, len(labels) - 1)], labels[min(2, len(labels) - 1)]


def restored(study: Study, set_id: str) -> dict[str, Path]:
    """The folder of each arm's images of a set, those of its first training seed, where they are here; no ablations."""
    first = {row.arm: row.id for row in reversed(study.rows.values())}
    folders = {arm: study.paths.images(first[arm], set_id) for arm in judged_arms(study)}
    return {arm: folder for arm, folder in folders.items() if (folder / CARD).is_file()}  # it is written last


def _sources(study: Study, pairs: Path) -> Iterator[_Source]:
    yield _Source("LR", list_images(pairs / "LR"))
    for arm, folder in restored(study, pairs.name).items():
        yield _Source(study.arms[arm].title, list_images(folder))
    if (pairs / "HR").is_dir():
        yield _Source("HR", list_images(pairs / "HR"))


def _strip(
    sources: list[_Source],
    stem: str,
    compared: tuple[str, str],
    level: Level,
    folder: Path,
    *,
    spectra: bool = False,
) -> Strip:
    having = [source for source in sources if stem in source.images]
    images = [read_rgb(source.images[stem]) for source in having]
    labels = [source.label for source in having]
    last = len(labels) - 1
    left, right = (labels.index(label) if label in labels else last for label in compared)
    spots = places(images, (left, right), level)
    tiles = [
        Tile(label, tuple(crops(image, spots, level, is_lr=label == "LR")), _spectrum(label, image) if spectra else "")
        for label, image in zip(labels, images, strict=True)
    ]
    longest = max((max(image.shape) for label, image in zip(labels, images, strict=True) if label != "LR"), default=0)
    return Strip(
        stem,
        min(level.side, longest or SCALE * max(images[0].shape)),
        tuple(spots),
        tuple(tiles),
        _links(sources, stem, folder),
    )


def _spectrum(label: str, image: Pixels) -> str:
    levels = decibels(image, SCALE if label == "LR" else 1)
    return ",".join("" if level is None else str(level) for level in levels)


def _links(sources: list[_Source], stem: str, folder: Path) -> tuple[tuple[str, str], ...]:
    having = [source for source in sources if stem in source.images]
    paths = [Path(os.path.relpath(one.images[stem], folder)).as_posix() for one in having]
    return tuple((one.label, urllib.parse.quote(path)) for one, path in zip(having, paths, strict=True))


def _values(columns: Sequence[Column], strips: dict[str, Strip]) -> str:
    """What pictures are sorted by, with the digits that are printed."""
    found = [
        {
            "name": column.metric.heading,
            "digits": column.metric.digits,
            "higher": column.metric.higher_is_better,
            "of": {
                name: {stem: round(value, column.metric.digits) for stem, value in values.items() if stem in strips}
                for name, values in column.of.items()
            },
        }
        for column in columns
        if column.of
    ]
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _evenly(names: list[str], count: int) -> list[str]:
    return [names[i * len(names) // count] for i in range(count)] if len(names) > count else names
