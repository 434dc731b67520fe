"""The grid that a study spans: arms, seeds, sets, protocols. Read by the Snakefile and the command line alike.

One YAML file under `config/` is one study. `Study.load` reads exactly that file and validates all of it before any
job starts; the `*_job` methods resolve what each stage needs to know and nothing more, so that a change of the
scoring protocol never trains anything again.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from framer.data.manifest import Manifest
from framer.errors import UserError, unknown
from framer.provenance import derive_seed, digest
from framer.schema import ArmConfig, BackboneConfig, Optimisation, StudyConfig
from framer.strict_yaml import explain, read_yaml


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
    """Where training pairs come from: HR photographs, degraded on the fly."""

    sets: tuple[str, ...]
    degradation: str


@dataclass(frozen=True)
class HeldOut:
    """A fixed set of (image, sigma, noise) on which the loss is measured; nothing is selected on it."""

    set: str
    draws: int
    seed: int


@dataclass(frozen=True)
class PretrainJob(Job):
    """Train one base from random weights. `optimisation.steps == 0` keeps the random weights as they are."""

    backbone: str
    base: str
    data: TrainingData
    optimisation: Optimisation
    heldout: HeldOut | None
    seeds: dict[str, int]
    threads: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"optimisation": self.optimisation.model_dump()}


@dataclass(frozen=True)
class TrainJob(PretrainJob):
    """Train LoRA or control weights on a base, with (recipe) or without (None) the FRAMER loss."""

    recipe: str | None


@dataclass(frozen=True)
class RestoreJob(Job):
    """Restore one test set with one row's model."""

    backbone: str | None
    steps: int | None
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
        names = {*config.sets, *(name for b in config.backbones.values() for name in b.data.sets)}
        if config.heldout:
            names.add(config.heldout.set)
        manifests = {}
        while names:
            name = names.pop()
            manifests[name] = manifest = Manifest.load(name, datasets, where=f"{path}: sets")
            if manifest.derived_from and manifest.derived_from not in manifests:
                names.add(manifest.derived_from)
        return cls(path, config, manifests)

    def training_folders(self, job: PretrainJob, datasets: Path) -> list[Path]:
        """The folders of HR photographs that a job trains on.

        Raises:
            UserError: a set has none.
        """
        folders = {name: self.manifests[name].training_folder for name in job.data.sets}
        for name, folder in folders.items():
            if folder is None:
                raise UserError(f"{self.path}: {name} has no HR images to train on; name a training set")
        return [datasets / name / str(folder) for name, folder in folders.items()]

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
        """The bases that the study trains itself; published ones are fetched."""
        tiny = [run for run in self.runs if self.config.backbones[str(self.arm(run).backbone)].pretrain]
        return list(dict.fromkeys(self.base_of(run) for run in tiny))

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
        optimisation = self.config.backbones[name].pretrain
        assert optimisation is not None
        return PretrainJob(**self._training(name, "base", 0, optimisation, untrained=base != name))

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
        optimisation = self.config.backbones[name].train
        return TrainJob(**self._training(name, "train", seed, optimisation, untrained=arm.untrained), recipe=arm.recipe)

    def _training(
        self, backbone: str, stage: str, seed: int, optimisation: Optimisation, *, untrained: bool
    ) -> dict[str, Any]:
        config = self.config.backbones[backbone]
        if untrained:
            optimisation = optimisation.model_copy(update={"steps": 0})
        heldout = self.config.heldout
        axes = ("init", "data", "noise", "negatives")
        return {
            "backbone": backbone,
            "base": config.base,
            "data": TrainingData(tuple(config.data.sets), config.data.degradation),
            "optimisation": optimisation,
            "heldout": heldout and HeldOut(heldout.set, heldout.draws, derive_seed(self.config.seed, "heldout")),
            "seeds": {axis: derive_seed(self.config.seed, stage, backbone, axis, seed) for axis in axes},
            "threads": self.config.threads,
        }

    def restore_job(self, row: str) -> RestoreJob:
        """What `framer restore` does for a row, on every set alike."""
        named = self.backbone(row)
        return RestoreJob(
            backbone=named and named[0],
            steps=named and named[1].sampler_steps,
            blank_lr=self.config.arms[self.rows[row].arm].blank_lr,
            seed=derive_seed(self.config.seed, "sampling", self.rows[row].seed or 0),
            threads=self.config.threads,
        )
