"""What each stage of a study does, resolved to plain values."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from framer.backbones.settings import FreeU
from framer.data.captions import Captions
from framer.method.recipe import Recipe
from framer.provenance.hashing import digest
from framer.study.schema import Numerics, Optimisation


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
        sets, degradation, crops, augmentation: as in the study.
        pairs: how many there are; None for never the same twice.
        seed: of the pairs when there are so many, and all runs share them; otherwise each run has its own.
    """

    sets: tuple[str, ...]
    degradation: str
    pairs: int | None = None
    seed: int = 0
    crops: Literal["any", "textured"] = "any"
    augmentation: Literal["flip", "flip_rotate"] = "flip"


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
        backbone: its name, as `framer.backbones.registry.settings_class` knows it.
        base: "tiny", "random" or what is published.
        settings: the backbone's, without what only restoring reads; none for a base, from which all arms start.
        data: where training pairs come from.
        stages: how each stage is optimised, by its name and in order; no step keeps the weights as they are.
        heldout: on what the loss is measured before and after each stage.
        seeds: one per source of randomness: init, data, noise, negatives.
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
    """Train LoRA or control weights on a base, with (recipe) or without (None) the FRAMER loss.

    Attributes:
        recipe: every choice of the FRAMER loss, by value.
        snapshots: after how many steps, over all stages, what trains is kept as it is then.
    """

    recipe: Recipe | None
    snapshots: tuple[int, ...] = field(default=(), kw_only=True)

    def as_dict(self) -> dict[str, Any]:
        values = super().as_dict() | {"recipe": self.recipe and self.recipe.as_dict()}
        if not self.snapshots:  # a study without analyses has the runs that it always had
            del values["snapshots"]
        return values


@dataclass(frozen=True)
class EncodeJob(Job):
    """Encode the pairs and prompts that runs of a backbone share; attributes as in `PretrainJob` and its numerics."""

    backbone: str
    base: str
    settings: dict[str, Any]
    data: TrainingData
    crop: int
    captions: Captions | None
    threads: int
    precision: str = field(default="float32", kw_only=True)


@dataclass(frozen=True)
class RestoreJob(Job):
    """Restore one test set with one row's model; `settings` is what the study sets of the backbone's `restore`."""

    backbone: str | None
    settings: dict[str, Any]
    blank_lr: bool
    seed: int
    threads: int
    freeu: FreeU | None = field(default=None, kw_only=True)

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        if self.freeu is None:  # the digests of jobs without it are those of before there was any
            del values["freeu"]
            return values
        return values | {"freeu": self.freeu.model_dump()}


@dataclass(frozen=True)
class AnalyseJob(Job):
    """What `framer analyse` records of one backbone.

    Attributes:
        backbone: its name, as `framer.backbones.registry.settings_class` knows it.
        set: of pairs.
        images: how many of it, from the start.
        runs: trained runs by their arm, the baseline first.
        compared: runs whose early training is looked at, by recipe.
        snapshots: the steps of that.
        precision: of arithmetic and frozen weights, as in training.
        settings: for restoring, where they are not at their defaults.
        captions: of the images; None for empty prompts.
        seed: of timesteps and noise.
        sampling: seed of the starting noise in restoring.
        threads: CPU threads.
    """

    backbone: str
    set: str
    images: int
    runs: dict[str, str]
    compared: dict[str, str]
    snapshots: tuple[int, ...]
    precision: str
    settings: dict[str, Any]
    captions: Captions | None
    seed: int
    sampling: int
    threads: int

    @property
    def needed(self) -> list[str]:
        """The runs that are read."""
        return list(dict.fromkeys([*self.runs.values(), *self.compared.values()]))


@dataclass(frozen=True)
class CostJob(Job):
    """What `framer analyse --cost` measures.

    Attributes:
        runs: one of each arm, a baseline before what is compared with it.
        restoring: settings of `restore` by run, where they are not at their defaults.
        training: numerics and settings of the training by run: other ones are another measurement.
        steps, warmup, blocks, batch, crop: as in the study.
        threads: CPU threads.
    """

    runs: dict[str, str]
    restoring: dict[str, dict[str, Any]]
    blocks: int
    steps: int
    warmup: int
    batch: int
    crop: int
    threads: int
    training: dict[str, dict[str, Any]] = field(default_factory=dict, kw_only=True)
