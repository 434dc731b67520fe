"""What each stage of a study does, resolved to plain values: the jobs that `framer.study` makes and the engine runs."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from framer.provenance import digest
from framer.schema import Numerics, Optimisation


@dataclass(frozen=True)
class Job:
    """What a stage does, resolved to plain values. Its digest is part of what makes the stage run again."""

    def as_dict(self) -> dict[str, Any]:
        """The job as JSON-able values, as a card records it."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """Twelve hex digits that change when any setting does."""
        return digest(self.as_dict())


@dataclass(frozen=True)
class TrainingData:
    """Where training pairs come from: HR photographs, degraded on the fly.

    Attributes:
        sets, degradation: as in the study.
        pairs: how many there are; None for never the same twice.
        seed: of the pairs when there are so many, and all runs share them; otherwise each run has its own.
    """

    sets: tuple[str, ...]
    degradation: str
    pairs: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Captions:
    """Where prompts come from.

    Attributes:
        folder: holds SET.csv or SET/ for every set.
        missing: what to do about an image without one.
    """

    folder: str
    missing: Literal["error", "empty"]


@dataclass(frozen=True)
class HeldOut:
    """A fixed set of (image, sigma, noise) on which the loss is measured; nothing is selected on it."""

    set: str
    draws: int
    seed: int


@dataclass(frozen=True)
class PretrainJob(Job):
    """Train one base from random weights.

    Attributes:
        backbone: its name, as `framer.backbones.settings.settings_class` knows it.
        base: "tiny", "random" or what is published.
        settings: the backbone's, without what only restoring reads; none for a base, from which all arms start.
        data: where training pairs come from.
        stages: how each stage is optimised, by its name and in order; no step keeps the weights as they are.
        heldout: on what the loss is measured before and after each stage.
        seeds: one a source of randomness: init, data, noise, negatives.
        threads: CPU threads.
        numerics: precision, compilation, determinism.
        captions: of the photographs; None for empty prompts.
    """

    backbone: str
    base: str
    settings: dict[str, Any]
    data: TrainingData
    stages: dict[str, Optimisation]
    heldout: HeldOut | None
    seeds: dict[str, int]
    threads: int
    numerics: Numerics = field(default=Numerics(), kw_only=True)
    captions: Captions | None = field(default=None, kw_only=True)

    def as_dict(self) -> dict[str, Any]:
        stages = {name: stage.model_dump() for name, stage in self.stages.items()}
        return asdict(self) | {"stages": stages, "numerics": self.numerics.model_dump()}


@dataclass(frozen=True)
class TrainJob(PretrainJob):
    """Train LoRA or control weights on a base, with (recipe) or without (None) the FRAMER loss."""

    recipe: str | None


@dataclass(frozen=True)
class EncodeJob(Job):
    """Encode the pairs and prompts that all runs of a backbone train on; attributes as in `PretrainJob`."""

    backbone: str
    base: str
    settings: dict[str, Any]
    data: TrainingData
    crop: int
    captions: Captions | None
    threads: int


@dataclass(frozen=True)
class RestoreJob(Job):
    """Restore one test set with one row's model; `settings` is what the study sets of the backbone's `restore`."""

    backbone: str | None
    settings: dict[str, Any]
    blank_lr: bool
    seed: int
    threads: int
