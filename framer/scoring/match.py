"""Which definition of a metric a published number was made with, found by computing all of them on the same images.

A definition that a protocol can hold has its id there, such as `psnr@y-bt601-limited,c0`. Those beyond: `,8bit` PSNR on
rounded Y, `,float` SSIM on unrounded Y, `,pooled` PSNR of the mean squared error over all images, `lpips@...,c4` LPIPS
of images with their border cropped.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from tqdm import tqdm

from framer.errors import UserError, unknown
from framer.scoring import psnr_ssim
from framer.scoring.definitions import Color, Lpips, Metric, Niqe, Psnr, Ssim
from framer.scoring.folders import unavailable
from framer.scoring.pairing import Pair, check, pair_up
from framer.scoring.scorer import Scorer, read_pair
from framer.weights import store

BORDERS = (0, 4)
_FLOOR = 1e-8
"""Under the squared error of PSNR; see `psnr_ssim.psnr`."""


@dataclass(frozen=True)
class Definition:
    """One way to compute a metric of a set of images."""

    id: str
    metric: Metric
    options: Mapping[str, bool | int | str] = field(default_factory=lambda: MappingProxyType({}))
    """Over those of `metric`, for PSNR and SSIM."""
    border: int = 0
    """Pixels cropped at each edge before a network sees the images."""
    pooled: bool = False
    """PSNR of the mean of the images' squared errors, instead of the mean of their PSNR."""

    def of_set(self, values: list[float]) -> float:
        """The value of a set from those of its images."""
        if not self.pooled:
            return math.fsum(values) / len(values)
        errors = [10 ** (-value / 10) - _FLOOR for value in values]
        return -10 * math.log10(math.fsum(errors) / len(errors) + _FLOOR)


def _fidelity() -> dict[str, list[Definition]]:
    colors: tuple[Color, ...] = ("y-bt601-limited", "y-yiq-full", "rgb")
    found: dict[str, list[Definition]] = {"psnr": [], "ssim": []}
    for color, border in product(colors, BORDERS):
        for kind, rounded, suffix in ((Psnr, True, ",8bit"), (Ssim, False, ",float")):
            metric = kind(color=color, border=border).metric
            ways = [Definition(metric.id, metric)]
            if color != "rgb":
                other = MappingProxyType({"rounded": rounded})
                ways.append(Definition(f"{metric.id}{suffix}", metric, other))
            found[metric.name] += ways
            if kind is Psnr:
                found["psnr"] += [Definition(f"{way.id},pooled", metric, way.options, pooled=True) for way in ways]
    return found


def _networks() -> dict[str, list[Definition]]:
    lpips = [
        Definition(metric.id + (f",c{border}" if border else ""), metric, border=border)
        for metric, border in product((Lpips(net="alex").metric, Lpips(net="vgg").metric), BORDERS)
    ]
    niqe = [
        Niqe(color=color, border=border, parameters=parameters).metric
        for parameters in ("live", "matlab")
        for color in ("y-yiq-full", "y-bt601-limited")
        for border in BORDERS
    ]
    return {"lpips": lpips, "niqe": [Definition(metric.id, metric) for metric in niqe]}


DEFINITIONS: Mapping[str, list[Definition]] = MappingProxyType(_fidelity() | _networks())
"""By metric, all that are compared. Y of full-range BT.601 and of YIQ is one and the same: both are `y-yiq-full`."""


@dataclass(frozen=True)
class Published:
    """A published mean, as printed."""

    metric: str
    text: str

    @classmethod
    def parse(cls, argument: str) -> Self:
        """`psnr=25.15`.

        Raises:
            UserError: it has another form, its metric is not one of `DEFINITIONS`, or its value is not a number.
        """
        metric, _, text = argument.partition("=")
        if metric not in DEFINITIONS:
            raise UserError(unknown("metric", metric, DEFINITIONS), key="--published", code="unknown")
        try:
            finite = Decimal(text).is_finite()
        except InvalidOperation:
            finite = False
        if not finite:
            raise UserError(f"{argument!r} is not METRIC=NUMBER", key="--published")
        return cls(metric, text)

    @property
    def number(self) -> float:
        """The printed value."""
        return float(self.text)

    def holds(self, value: float) -> bool:
        """Whether a value, rounded to as many decimals as are printed, gives the number; exact ties count."""
        exponent = Decimal(self.text).as_tuple().exponent
        return abs(value - self.number) <= 0.5 * 10.0 ** int(exponent) + 1e-9


@dataclass(frozen=True)
class Match:
    """One definition beside a published number."""

    definition: Definition
    values: list[float]
    """Per image, in the order of their names; empty where it cannot be computed."""
    gap: float
    """The value of the set minus the published number; not a number where it cannot be computed."""
    holds: bool
    """Whether the published number is a rounding of the value."""
    unavailable: str | None = None
    """Why it cannot be computed here."""

    @property
    def value(self) -> float | None:
        """The value of the set."""
        return self.definition.of_set(self.values) if self.values else None


def match(sr: Path, hr: Path | None, published: Iterable[Published], progress: bool = True) -> list[list[Match]]:
    """Compute published metrics under every definition.

    Args:
        sr: folder of restored images.
        hr: folder of HR images with the same stems and sizes; None suffices for NIQE.
        published: the numbers to explain.
        progress: show a bar on stderr.

    Returns:
        Per published number, all definitions of its metric: nearest first, those that cannot be computed last.

    Raises:
        UserError: images that do not pair up, differ in size, are not 8-bit RGB, or are too small for a definition;
            weights that are damaged; a value that is not finite.
    """
    numbers = list(published)
    pairs = pair_up(sr, hr)
    wanted = {one.id: one for number in numbers for one in DEFINITIONS[number.metric]}
    reasons = {name: unavailable(one.metric, has_hr=hr is not None) for name, one in wanted.items()}
    computed = [one for name, one in wanted.items() if reasons[name] is None]
    check(pairs, [replace(one.metric, min_side=one.metric.min_side + 2 * one.border) for one in computed])
    values = _values(pairs, computed, progress)

    def beside(number: Published, one: Definition) -> Match:
        if reason := reasons[one.id]:
            return Match(one, [], math.nan, False, reason)
        value = one.of_set(values[one.id])
        return Match(one, values[one.id], value - number.number, number.holds(value))

    every = [[beside(number, one) for one in DEFINITIONS[number.metric]] for number in numbers]
    return [sorted(some, key=lambda one: (one.unavailable is not None, abs(one.gap))) for some in every]


def _values(pairs: list[Pair], definitions: list[Definition], progress: bool) -> dict[str, list[float]]:
    metrics = {one.metric.id: one.metric for one in definitions}
    store.verified(name for metric in metrics.values() for name in metric.weights)
    networks = Scorer(metrics.values()).networks
    values: dict[str, list[float]] = {one.id: [] for one in definitions}
    for pair in tqdm(pairs, "match", unit="image", file=sys.stderr, disable=not progress):
        read = read_pair(pair)
        for one in definitions:
            if one.pooled:  # made of the values of the definition before it
                values[one.id].append(values[one.id.removesuffix(",pooled")][-1])
            elif network := networks.get(one.metric.id):
                from framer.scoring.pyiqa_metrics import as_tensor

                height, width, _ = read.sr.shape
                inside = np.s_[one.border : height - one.border, one.border : width - one.border]
                hr = None if read.hr is None else as_tensor([read.hr[inside]])
                values[one.id] += network.values(as_tensor([read.sr[inside]]), hr)
            else:
                function = psnr_ssim.FUNCTIONS[one.metric.pyiqa]
                values[one.id].append(function(read.sr, read.hr, **{**one.metric.options, **one.options}))
            if not math.isfinite(values[one.id][-1]):
                raise UserError(
                    f"{one.id} is not finite; the image may be flat or broken", path=pair[0], code="diverged"
                )
    return values
