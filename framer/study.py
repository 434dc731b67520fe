"""The grid that a study spans: arms, seeds, sets, protocols. Read by the Snakefile and the command line alike.

One YAML file under `config/` is one study. `Study.load` reads exactly that file and validates all of it before any
job starts; the `*_job` methods resolve what each stage needs to know and nothing more, so that a change of the
scoring protocol never trains anything again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from framer.backbones.settings import settings_of
from framer.data.manifest import Manifest
from framer.errors import UserError, unknown
from framer.provenance import derive_seed, digest
from framer.schema import ArmConfig, BackboneConfig, Numerics, Optimisation, StudyConfig
from framer.strict_yaml import explain, read_yaml

OWN_BASES = ("tiny", "random")
"""Bases that need no download."""


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
        backbone: a key of `framer.backbones.settings.SETTINGS`.
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


@dataclass(frozen=True)
class Row:
    """One row's worth of restored images: an arm at one training seed, or a method that is not trained."""

    id: str
    arm: str
    seed: int | None
    run: str | None


class Study:
    """A validated study and everything that follows from it."""

    def __init__(self, path: Path, config: StudyConfig, manifests: dict[str, Manifest]):
        self.path, self.config, self.manifests = path, config, manifests
        self.name = path.stem
        self.out = Path("results") / self.name

    @classmethod
    def load(cls, path: Path, datasets: Path = Path("datasets")) -> "Study":
        """Read and validate one study file.

        Raises:
            UserError: the file is missing, is no YAML, has an unknown key, a wrong value or names that do not resolve;
                one line with the file, the key and what is known.
        """
        try:
            config = StudyConfig.model_validate(read_yaml(path))
        except ValidationError as error:
            raise UserError(explain(path, error, StudyConfig)) from None
        manifests: dict[str, Manifest] = {}

        def load(key: str, name: str) -> Manifest:
            manifests[name] = manifest = Manifest.load(name, datasets, where=f"{path}: {key}")
            if manifest.derived_from and manifest.derived_from not in manifests:
                load(key, manifest.derived_from)
            return manifest

        for name in config.sets:
            if load("sets", name).test_folder is None:
                raise UserError(f"{path}: sets: {name} has no LR images to restore; name a test set")
        if config.heldout and not load("heldout.set", config.heldout.set).paired:
            raise UserError(f"{path}: heldout.set: {config.heldout.set} has no pairs of LR and HR; name a paired set")
        for backbone, settings in config.backbones.items():
            key = f"backbones.{backbone}.data.sets"
            for name in settings.data.sets:
                if load(key, name).training_folder is None:
                    raise UserError(f"{path}: {key}: {name} has no HR images to train on; name a training set")
                if name in config.sets:
                    raise UserError(f"{path}: {key}: {name} is tested on as well; train on other images")
        return cls(path, config, manifests)

    def training_folders(self, job: PretrainJob | EncodeJob, datasets: Path) -> list[Path]:
        """The folders of HR photographs that a job trains on."""
        return [datasets / name / str(self.manifests[name].training_folder) for name in job.data.sets]

    def heldout_folder(self, datasets: Path) -> Path | None:
        """The set on which the held-out loss is measured."""
        return datasets / self.config.heldout.set if self.config.heldout else None

    @cached_property
    def rows(self) -> dict[str, Row]:
        """All rows by id, in the order of the tables: a trained arm has one a seed."""
        rows = {}
        for name, arm in self.config.arms.items():
            if arm.backbone is None and arm.of is None:
                rows[name] = Row(name, name, None, None)
                continue
            for seed in self.config.seeds:
                rows[f"{name}-s{seed}"] = Row(f"{name}-s{seed}", name, seed, f"{arm.of or name}-s{seed}")
        return rows

    @property
    def runs(self) -> list[str]:
        """The rows that are trained; a row that restores with another's model is none."""
        return [row.id for row in self.rows.values() if row.run == row.id]

    @property
    def bases(self) -> list[str]:
        """The bases that the study makes itself; published ones are fetched."""
        own = [run for run in self.runs if self.config.backbones[str(self.arm(run).backbone)].base in OWN_BASES]
        return list(dict.fromkeys(self.base_of(run) for run in own))

    def stopped(self, absent: Mapping[str, str]) -> dict[str, str]:
        """The rows whose model cannot be trained here, with the reason.

        Args:
            absent: sets that are not on this machine, each with what to do.
        """
        rows = {}
        for row in self.rows.values():
            job = self.train_job(row.run) if row.run else None
            needed = [*job.data.sets, *([job.heldout.set] if job.heldout else [])] if job else []
            if lacking := [name for name in needed if name in absent]:
                rows[row.id] = f"training needs {' and '.join(lacking)}, which can only be had by hand"
        return rows

    def arm(self, row: str) -> ArmConfig:
        """The arm whose model restores a row."""
        arm = self.config.arms[self.rows[row].arm]
        return self.config.arms[arm.of] if arm.of else arm

    def backbone(self, row: str) -> tuple[str, BackboneConfig] | None:
        """The backbone's name and settings behind a row, or None for bicubic."""
        name = self.arm(row).backbone
        return (name, self.config.backbones[name]) if name else None

    def base_of(self, run: str) -> str:
        """The base that a run starts from: one a backbone, and an untrained one where an arm asks for it."""
        arm = self.arm(run)
        return f"{arm.backbone}-untrained" if arm.untrained else str(arm.backbone)

    def pretrain_job(self, base: str) -> PretrainJob:
        """What `framer pretrain` does for a base.

        Raises:
            UserError: the study trains no base of that name.
        """
        if base not in self.bases:
            raise UserError(f"{self.path}: {unknown('base', base, self.bases)}")
        name = base.removesuffix("-untrained")
        pretrain = self.config.backbones[name].pretrain
        stages = {"base": pretrain} if pretrain else {}
        job = PretrainJob(**self._training(name, {}, "base", 0, stages, untrained=base != name))
        # A base learns from photographs alone, and from each pair once.
        return replace(job, data=replace(job.data, pairs=None, seed=0), captions=None)

    def train_job(self, run: str) -> TrainJob:
        """What `framer train` does for a run.

        The seeds name neither arm nor recipe: all arms of a backbone see the same images, degradations, timesteps
        and noise in the same order, so that a comparison at one seed is a paired one.

        Raises:
            UserError: no run of that name.
        """
        if run not in self.runs:
            raise UserError(f"{self.path}: {unknown('run', run, self.runs)}")
        arm, row = self.arm(run), self.rows[run]
        name, seed = str(arm.backbone), row.seed or 0
        config = self.config.backbones[name]
        settings = settings_of(name, config.settings, arm.settings).training
        training = self._training(name, settings, "train", seed, config.train, untrained=arm.untrained)
        return TrainJob(**training, recipe=arm.recipe)

    def encode_job(self, backbone: str) -> EncodeJob:
        """What `framer encode` does for a backbone; with its own settings, whatever the arms change.

        Raises:
            UserError: the study has no such backbone, or does not encode its pairs.
        """
        encoded = [name for name, config in self.config.backbones.items() if config.data.encode]
        if backbone not in encoded:
            raise UserError(f"{self.path}: {unknown('backbone with data.encode', backbone, encoded)}")
        config = self.config.backbones[backbone]
        settings = settings_of(backbone, config.settings).training
        training = self._training(backbone, settings, "train", 0, config.train, untrained=False)
        kept = ("backbone", "base", "settings", "data", "captions", "threads")
        crops = {stage.crop for stage in config.train.values()}
        if len(crops) > 1:
            raise UserError(f"{self.path}: backbones.{backbone}.data.encode: all stages must have one crop")
        return EncodeJob(**{key: training[key] for key in kept}, crop=crops.pop())

    def captions(self, backbone: str) -> Captions | None:
        """Where a backbone's prompts come from: the study's folder, or where a model's captions are written."""
        config = self.config.backbones[backbone].captions
        if config is None:
            return None
        folder = config.folder or f"captions/{str(config.model).replace('/', '--')}"
        return Captions(folder, config.missing)

    def _training(
        self,
        backbone: str,
        settings: dict[str, Any],
        kind: str,
        seed: int,
        stages: dict[str, Optimisation],
        *,
        untrained: bool,
    ) -> dict[str, Any]:
        config = self.config.backbones[backbone]
        if untrained:
            stages = {name: stage.model_copy(update={"steps": 0}) for name, stage in stages.items()}
        heldout = self.config.heldout
        axes = ("init", "data", "noise", "negatives")
        return {
            "backbone": backbone,
            "base": config.base,
            "settings": settings,
            "data": self._data(backbone),
            "stages": stages,
            "heldout": heldout and HeldOut(heldout.set, heldout.draws, derive_seed(self.config.seed, "heldout")),
            "seeds": {axis: derive_seed(self.config.seed, kind, backbone, axis, seed) for axis in axes},
            "threads": self.config.threads,
            "numerics": config.numerics,
            "captions": self.captions(backbone),
        }

    def _data(self, backbone: str) -> TrainingData:
        data = self.config.backbones[backbone].data
        seed = derive_seed(self.config.seed, "pairs", backbone) if data.pairs else 0
        return TrainingData(tuple(data.sets), data.degradation, data.pairs, seed)

    def restore_job(self, row: str) -> RestoreJob:
        """What `framer restore` does for a row, on every set alike."""
        named = self.backbone(row)
        return RestoreJob(
            backbone=named and named[0],
            settings=settings_of(named[0], named[1].settings, self.arm(row).settings).set_for_restoring
            if named
            else {},
            blank_lr=self.config.arms[self.rows[row].arm].blank_lr,
            seed=derive_seed(self.config.seed, "sampling", self.rows[row].seed or 0),
            threads=self.config.threads,
        )
