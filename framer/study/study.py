"""The grid that a study spans: arms, seeds, sets, protocols. Read by the Snakefile and the command line alike.

One YAML file under `config/` is one study. `Study.load` reads exactly that file and validates all of it before any
job starts; the `*_job` methods resolve what each stage needs to know and nothing more, so that a change of the
scoring protocol never trains anything again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from framer.backbones.registry import settings_of
from framer.config_file import read_model
from framer.data.captions import Captions
from framer.data.manifest import Manifest
from framer.errors import UserError, unknown
from framer.provenance.hashing import derive_seed
from framer.study.arms import ArmConfig
from framer.study.jobs import EncodeJob, HeldOut, PretrainJob, RestoreJob, TrainingData, TrainJob
from framer.study.layout import Paths, model_captions
from framer.study.schema import BackboneConfig, Optimisation, StudyConfig

OWN_BASES = ("tiny", "random")
"""Bases that need no download."""


@dataclass(frozen=True)
class Row:
    """One row's worth of restored images: an arm at one seed, or a method that has none.

    Attributes:
        id: ARM-sSEED, or ARM.
        arm: whose row it is.
        seed: of training; of published weights that of sampling.
        run: the folder of the model under `runs`: ARM-sSEED where it is trained, ARM of published weights.
    """

    id: str
    arm: str
    seed: int | None
    run: str | None


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


class Study:
    """A validated study and everything that follows from it."""

    def __init__(self, path: Path, config: StudyConfig, manifests: dict[str, Manifest]):
        self.path, self.config, self.manifests = path, config, manifests
        self.arms = config.arms | config.ablation_arms
        self.name = path.stem
        self.paths = Paths(self.name)
        self.out = self.paths.out
        self._train_jobs: dict[str, TrainJob] = {}

    @classmethod
    def load(cls, path: Path, datasets: Path = Path("datasets")) -> "Study":
        """Read and validate one study file.

        Raises:
            UserError: the file is missing, is no YAML, has an unknown key, a wrong value or names that do not resolve;
                one line with the file, the key and what is known.
        """
        config = read_model(path, StudyConfig)
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
        if config.analysis and not load("analysis.set", config.analysis.set).paired:
            raise UserError(f"{path}: analysis.set: {config.analysis.set} has no pairs of LR and HR; name a paired set")
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
        for name, arm in self.arms.items():
            if arm.backbone is None and arm.of is None:
                rows[name] = Row(name, name, None, None)
            elif arm.checkpoint:
                for seed in arm.seeds or [0]:
                    rows[f"{name}-s{seed}"] = Row(f"{name}-s{seed}", name, seed, name)
            else:
                for seed in self.seeds_of(name):
                    rows[f"{name}-s{seed}"] = Row(f"{name}-s{seed}", name, seed, f"{arm.of or name}-s{seed}")
        return rows

    def seeds_of(self, arm: str) -> list[int]:
        """The training seeds of an arm that is trained; a control has those of the arm whose model it takes."""
        config = self.arms[arm]
        return config.seeds or (self.seeds_of(config.of) if config.of else self.config.seeds)

    @cached_property
    def runs(self) -> list[str]:
        """The rows that are trained; a row that restores with another's model is none."""
        return [row.id for row in self.rows.values() if row.run == row.id]

    @property
    def released(self) -> dict[str, str]:
        """The arms that restore with published weights: the id of these, by arm, which is also the run's name."""
        return {name: arm.checkpoint for name, arm in self.arms.items() if arm.checkpoint}

    @property
    def supplied(self) -> list[str]:
        """The arms whose images others restored; each is its own only row."""
        return [name for name, arm in self.arms.items() if arm.images]

    @cached_property
    def ablation_arms(self) -> frozenset[str]:
        """Arms that stand in the ablation grid alone."""
        return frozenset(self.config.ablation_arms)

    def sets_of(self, row: str) -> list[str]:
        """The test sets that a row restores, in the order of the tables."""
        chosen = self.arms[self.rows[row].arm].sets
        return [name for name in self.config.sets if chosen is None or name in chosen]

    @property
    def tiny(self) -> bool:
        """Whether all networks are tiny: they run on CPUs, and nothing is fetched. A study without backbones is not."""
        return {backbone.base for backbone in self.config.backbones.values()} == {"tiny"}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every row with each of its test sets: all that is restored and scored."""
        return [(row, name) for row in self.rows for name in self.sets_of(row)]

    @property
    def bases(self) -> list[str]:
        """The bases that the study makes itself; published ones are fetched."""
        own = [run for run in self.runs if self.config.backbones[str(self.arm(run).backbone)].base in OWN_BASES]
        return list(dict.fromkeys(self.base_of(run) for run in own))

    def arm(self, row: str) -> ArmConfig:
        """The arm whose model restores a row."""
        arm = self.arms[self.rows[row].arm]
        return self.arms[arm.of] if arm.of else arm

    def differences(self, arm: str, other: str) -> list[str]:
        """In what two arms differ besides the recipe of the FRAMER loss, as "key: ours, not theirs".

        Everything that reaches training and restoring is compared as it was resolved, at the training seeds that both
        arms have; not what is kept on the way, which changes nothing of the end. None for a fair comparison.

        Raises:
            UserError: one of them is not trained by the study.
        """
        ours, theirs = self._resolved(arm), self._resolved(other)
        found = []
        if not (common := [seed for seed in self.seeds_of(arm) if seed in self.seeds_of(other)]):
            return [f"seeds: {self.seeds_of(arm)}, not {self.seeds_of(other)}"]
        for seed in common:
            one, two = ours(seed), theirs(seed)
            apart = [key for key in one | two if one.get(key) != two.get(key) and key != "snapshots"]
            keys = [key for key in apart if key.partition(".")[0] != "recipe"]
            found += [f"{key}: {one.get(key)}, not {two.get(key)}" for key in keys]
        return list(dict.fromkeys(found))

    def _resolved(self, arm: str) -> Callable[[int], dict[str, Any]]:
        """All that an arm's training and restoring are told at a seed, flat."""
        if arm not in {self.rows[run].arm for run in self.runs}:
            raise UserError(f"{self.path}: arms.{arm}: is not trained; no comparison of its training")

        def at(seed: int) -> dict[str, Any]:
            run = f"{arm}-s{seed}"
            return flat(self.train_job(run).as_dict()) | flat(self.restore_job(run).as_dict(), "restore.")

        return at

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
        # The workflow asks many times for each of hundreds.
        if run not in self._train_jobs:
            self._train_jobs[run] = self._train_job(run)
        return self._train_jobs[run]

    def _train_job(self, run: str) -> TrainJob:
        arm, row = self.arm(run), self.rows[run]
        name, seed = str(arm.backbone), row.seed or 0
        config = self.config.backbones[name]
        settings = settings_of(name, config.settings, arm.settings).training
        training = self._training(name, settings, "train", seed, config.train, untrained=arm.untrained)
        return TrainJob(**training, recipe=arm.recipe.recipe if arm.recipe else None, snapshots=self.snapshots(run))

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
        return EncodeJob(**{key: training[key] for key in kept}, crop=crops.pop(), precision=config.numerics.precision)

    def captions(self, backbone: str, *, restoring: bool = False) -> Captions | None:
        """Where a backbone's prompts come from: the study's folder, or where a model's captions are written."""
        config = self.config.backbones[backbone].captions
        if config is None or (restoring and not config.restoring):
            return None
        folder = config.folder or model_captions(str(config.model)).as_posix()
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
        return TrainingData(tuple(data.sets), data.degradation, data.pairs, seed, data.crops, data.augmentation)

    def restore_job(self, row: str) -> RestoreJob:
        """What `framer restore` does for a row, on every set alike."""
        named = self.backbone(row)
        return RestoreJob(
            backbone=named and named[0],
            settings=settings_of(named[0], named[1].settings, self.arm(row).settings).set_for_restoring
            if named
            else {},
            blank_lr=self.arms[self.rows[row].arm].blank_lr,
            seed=derive_seed(self.config.seed, "sampling", self.rows[row].seed or 0),
            threads=self.config.threads,
        )

    @property
    def analysed_seed(self) -> int:
        """The training seed whose runs are analysed."""
        analysis = self.config.analysis
        return self.config.seeds[0] if analysis is None or analysis.seed is None else analysis.seed

    def snapshots(self, run: str) -> tuple[int, ...]:
        """After how many steps a run keeps its adapter: none, but for the recipes that the analysis compares."""
        analysis, arm = self.config.analysis, self.arm(run)
        if analysis is None or arm.untrained or self.rows[run].seed != self.analysed_seed:
            return ()
        return tuple(analysis.snapshots) if arm.recipe and arm.recipe.name in analysis.compared else ()
