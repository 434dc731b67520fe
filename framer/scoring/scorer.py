"""The scores of one image, and how a journal keeps them."""

import base64
import math
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from framer.data.images import read_hashed
from framer.errors import UserError
from framer.scoring import psnr_ssim
from framer.scoring.pairing import Pair, decoded_size
from framer.scoring.protocols import Metric
from framer.scoring.score_file import WHOLE_SET

if TYPE_CHECKING:
    from framer.scoring.pyiqa_metrics import Network


Feature = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """One image's scores, and what FID needs of it."""

    image: str
    """The SR file's name."""
    sha256: dict[str, str]
    """Of the files: "sr", and "hr" where there is one."""
    values: dict[str, float]
    """By the metrics' ids."""
    features: dict[str, Feature] = field(default_factory=dict)
    """For metrics of whole sets: one vector each of "sr" and "hr"."""

    def as_json(self, weights: Mapping[str, str]) -> list[Any]:
        """All but the name, as JSON takes it; the features keep every bit.

        Args:
            weights: a digest of each metric's weights, by its id; that of metrics of whole sets as `WHOLE_SET`.
        """
        scores = {name: [value, weights[name]] for name, value in self.values.items()}
        features = {side: base64.b64encode(vector.tobytes()).decode() for side, vector in self.features.items()}
        return [self.sha256, scores, features, weights[WHOLE_SET]]

    @classmethod
    def from_json(cls, image: str, value: list[Any], weights: Mapping[str, str]) -> Self:
        """What `as_json` gave of metrics with the same weights."""
        sha256, scores, texts, made_with = value
        values = {name: one for name, (one, of) in scores.items() if weights.get(name) == of}
        features = {side: np.frombuffer(base64.b64decode(text), np.float32) for side, text in texts.items()}
        return cls(image, sha256, values, features if made_with == weights[WHOLE_SET] else {})

    def has(self, metric: Metric) -> bool:
        """Whether it has what a metric's scores are made of."""
        return bool(self.features) if metric.of_set else metric.id in self.values

    def joined(self, other: "Scored") -> "Scored":
        """The scores of both, of one image."""
        return replace(self, values=self.values | other.values, features=self.features or other.features)


Image = NDArray[np.uint8]

BATCH_PIXELS = 8 * 512 * 512
"""The most pixels of SR images that are in the networks at once, on a GPU; a larger image goes alone."""


def packages(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """The distributions whose versions some scores depend on."""
    networks = ("pyiqa", "timm", "torch", "torchvision") if any(map(_has_network, metrics)) else ()
    return ("framer", "numpy", "pillow", *networks)


def _has_network(metric: Metric) -> bool:
    return metric.pyiqa not in psnr_ssim.FUNCTIONS


@contextmanager
def one_thread(metrics: Iterable[Metric]) -> Iterator[None]:
    """Let torch compute on one thread, so that values depend on no number of them; the caller's number comes back."""
    if not any(map(_has_network, metrics)):
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Unit:
    """Images that are scored together: of one size, by the same metrics."""

    task: int
    """Which of the tasks they belong to."""
    pairs: tuple[Pair, ...]
    metrics: tuple[Metric, ...]


class Scorer:
    """All networks that some metrics need, each loaded once."""

    def __init__(self, metrics: Iterable[Metric]):
        """
        Args:
            metrics: those of all tasks. torch and pyiqa take seconds to import, and are imported only for a network.

        Raises:
            UserError: a file of weights cannot be read.
        """
        self.networks: dict[str, Network] = {}
        self.on_gpu = False
        with_network = [metric for metric in metrics if _has_network(metric)]
        if with_network:
            from framer.scoring import pyiqa_metrics

            self.networks = {metric.id: pyiqa_metrics.Network(metric) for metric in with_network}
            self.on_gpu = pyiqa_metrics.device().type != "cpu"

    def units(self, task: int, pairs: list[Pair], metrics: list[Metric]) -> list[Unit]:
        """The units of a task. They depend on its images alone, not on what was scored before."""
        if not self.on_gpu:
            return [Unit(task, (pair,), tuple(metrics)) for pair in pairs]
        units = []
        sized = sorted(((decoded_size(pair[0]), pair) for pair in pairs), key=lambda item: item[0])
        for (width, height), group in groupby(sized, key=lambda item: item[0]):
            same, step = [pair for _, pair in group], max(1, BATCH_PIXELS // (width * height))
            units += [Unit(task, tuple(same[i : i + step]), tuple(metrics)) for i in range(0, len(same), step)]
        return units

    def run(self, units: list[Unit], threads: int) -> Iterator[tuple[Unit, list[Scored]]]:
        """Score units, in their order.

        Args:
            units: units of any tasks.
            threads: number of processes on CPUs; with a GPU, number of threads that decode.

        Raises:
            UserError: an image cannot be read or a value is not finite.
        """
        if self.on_gpu:
            yield from self._overlapped(units, threads)
        elif min(threads, len(units)) <= 1:
            yield from (
                (unit, self.score(unit, [read_pair(pair, unit.metrics) for pair in unit.pairs])) for unit in units
            )
        else:
            yield from self._spread(units, threads)

    def _spread(self, units: list[Unit], threads: int) -> Iterator[tuple[Unit, list[Scored]]]:
        """Forked processes share the networks' memory, so nothing is loaded again; only numbers go to and fro."""
        fork = multiprocessing.get_context("fork")
        pool = ProcessPoolExecutor(min(threads, len(units)), fork, initializer=_adopt, initargs=(self, units))
        try:
            yield from zip(units, pool.map(_score, range(len(units))), strict=True)
        except BrokenProcessPool:
            message = "a scoring process was killed, most likely for memory; use fewer"
            raise UserError(message, key="--threads") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _overlapped(self, units: list[Unit], threads: int) -> Iterator[tuple[Unit, list[Scored]]]:
        with ThreadPoolExecutor(max(1, threads)) as pool:

            def start(unit: Unit) -> list[Future[Read]]:
                return [pool.submit(read_pair, pair, unit.metrics) for pair in unit.pairs]

            ahead = start(units[0]) if units else []
            for unit, following in zip(units, [*units[1:], None], strict=True):
                images = [future.result() for future in ahead]
                ahead = start(following) if following else []
                yield unit, self.score(unit, images)

    def score(self, unit: Unit, images: list["Read"]) -> list[Scored]:
        """Put the images of a unit through its networks.

        Raises:
            UserError: a value is not finite.
        """
        values: list[dict[str, float]] = [dict(image.values) for image in images]
        features: list[dict[str, Feature]] = [{} for _ in images]
        networks = [self.networks[metric.id] for metric in unit.metrics if metric.id in self.networks]
        if networks:
            from framer.scoring.pyiqa_metrics import as_tensor

            sr_images = [image.sr for image in images]
            hr_images = [image.hr for image in images if image.hr is not None]
            sr, hr = as_tensor(sr_images), as_tensor(hr_images) if hr_images else None
            for network in networks:
                if network.metric.of_set:
                    of_both = zip(network.features(sr_images), network.features(hr_images), strict=True)
                    features = [{"sr": of_sr, "hr": of_hr} for of_sr, of_hr in of_both]
                else:
                    for one, value in zip(values, network.values(sr, hr), strict=True):
                        one[network.metric.id] = value
        for (path, _), one in zip(unit.pairs, values, strict=True):
            for metric in unit.metrics:
                if not math.isfinite(one.get(metric.id, 0.0)):
                    message = f"{metric.id} is {one[metric.id]}; look at the image, it may be flat or broken"
                    raise UserError(message, path=path, code="diverged")
        return [
            Scored(pair[0].name, image.sha256, one, vectors)
            for pair, image, one, vectors in zip(unit.pairs, images, values, features, strict=True)
        ]


@dataclass(frozen=True)
class Read:
    """A decoded pair, the hashes of its files, and its scores that need no network."""

    sr: Image
    hr: Image | None
    sha256: dict[str, str]
    values: dict[str, float]


def read_pair(pair: Pair, metrics: tuple[Metric, ...] = ()) -> Read:
    """Decode a pair and compute those of some metrics that need no network.

    Raises:
        UserError: an image cannot be read, or the two differ in size once decoded.
    """
    read = [read_hashed(path) for path in pair if path]
    sha256 = {side: one for side, (_, one) in zip(("sr", "hr"), read, strict=False)}
    sr, hr = read[0][0], read[1][0] if pair[1] else None
    if hr is not None and hr.shape != sr.shape:
        message = f"decoded, it is {sr.shape[:2]}, and its HR image {hr.shape[:2]}; one is turned by EXIF"
        raise UserError(message, path=pair[0], code="mismatch")
    plain = [metric for metric in metrics if not _has_network(metric)]
    values = {metric.id: psnr_ssim.FUNCTIONS[metric.pyiqa](sr, hr, **metric.options) for metric in plain}
    return Read(sr, hr, sha256, values)


_inherited: tuple[Scorer, list[Unit]]
"""What a forked process works on."""


def _adopt(scorer: Scorer, units: list[Unit]) -> None:
    global _inherited
    _inherited = scorer, units


def _score(number: int) -> list[Scored]:
    scorer, units = _inherited
    return scorer.score(units[number], [read_pair(pair, units[number].metrics) for pair in units[number].pairs])
