"""A study: its grid and what each stage of it does. Read by the Snakefile and the command line alike.

One YAML file under `config/` is one study. `Study.load` reads exactly that file and validates all of it before any
job starts; the `*_job` methods resolve what each stage needs to know and nothing more, so that a change of the
scoring protocol never trains anything again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from framer.backbones.registry import settings_of
from framer.config_file import first_mistake, read_model
from framer.data.captions import Captions
from framer.data.manifest import DegradedSource, Manifest
from framer.errors import UserError, unknown
from framer.provenance.hashing import derive_seed, digest
from framer.study.grid import StudyGrid
from framer.study.jobs import EncodeJob, HeldOut, PretrainJob, RestoreJob, TrainingData, TrainJob
from framer.study.layout import model_captions
from framer.study.rivals import with_rivals
from framer.study.schema import Optimisation, StudyConfig
from framer.study.tuning import read_choice


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def not_held_out(config: StudyConfig, manifests: Mapping[str, Manifest]) -> str | None:
    """Why the weights of a study must not be chosen on the set that it names, in one line; None where they may."""
    assert config.tune is not None
    by = config.tune.by
    ours = _photographs(manifests[by])
    if not manifests[by].paired:
        return f"{by} has no pairs of LR and HR; name a paired set"
    for name in config.sets:
        if _photographs(manifests[name]) == ours:
            return f"{by} is of the photographs of the test set {name}; name others"
    for backbone in config.backbones.values():
        for name in backbone.training_sets:
            if (name, str(manifests[name].training_folder)) == ours:
                return f"{by} is of the photographs of {name}, which is trained on; name others"
    return None


def _photographs(manifest: Manifest) -> tuple[str, str]:
    """The set and folder of the photographs behind the HR images of a set: its own, or those that are degraded."""
    source = manifest.sources[0]
    return (source.of, source.split) if isinstance(source, DegradedSource) else (manifest.id, "HR")


class Study(StudyGrid):
    """A validated study: its grid, the manifests of its sets, and the job of every stage."""

    def __init__(self, path: Path, config: StudyConfig, manifests: dict[str, Manifest]):
        super().__init__(path, config)
        self.manifests = manifests
        self._train_jobs: dict[str, TrainJob] = {}

    @classmethod
    def load(cls, path: Path, datasets: Path = Path("datasets"), *, rivals: bool | None = False) -> "Study":
        """Read and validate one study file.

        Args:
            path: of the study.
            datasets: folder of manifests.
            rivals: with its optional part, or without it; None for with it where there is one.

        Raises:
            UserError: the file is missing, is no YAML, has an unknown key, a wrong value or names that do not resolve;
                one line with the file, the key and what is known.
        """
        config = read_model(path, StudyConfig)
        try:
            both = with_rivals(config)  # a mistake in it is found without the option, too
        except ValidationError as error:
            key, message = first_mistake(error, StudyConfig)
            raise UserError(f"with rivals, {message}", path=path, key=key) from None
        except ValueError as error:
            raise UserError(str(error), path=path) from None
        if rivals and config.rivals is None:
            raise UserError("missing; the study has no optional part", path=path, key="rivals", code="missing")
        config = config if rivals is False else both
        manifests: dict[str, Manifest] = {}

        def load(key: str, name: str) -> Manifest:
            manifests[name] = manifest = Manifest.load(name, datasets, where=f"{path}: {key}")
            if manifest.derived_from and manifest.derived_from not in manifests:
                load(key, manifest.derived_from)
            return manifest

        for name in config.sets:
            if load("sets", name).test_folder is None:
                raise UserError(f"{name} has no LR images to restore; name a test set", path=path, key="sets")
        if config.heldout and not load("heldout.set", config.heldout.set).paired:
            message = f"{config.heldout.set} has no pairs of LR and HR; name a paired set"
            raise UserError(message, path=path, key="heldout.set")
        if config.analysis and not load("analysis.set", config.analysis.set).paired:
            message = f"{config.analysis.set} has no pairs of LR and HR; name a paired set"
            raise UserError(message, path=path, key="analysis.set")
        for backbone, settings in config.backbones.items():
            key = f"backbones.{backbone}.data.sets"
            for name in settings.training_sets:
                if load(key, name).training_folder is None:
                    raise UserError(f"{name} has no HR images to train on; name a training set", path=path, key=key)
                if name in config.sets:
                    raise UserError(f"{name} is tested on as well; train on other images", path=path, key=key)
        if config.tune:
            load("tune.by", config.tune.by)
            if reason := not_held_out(config, manifests):
                raise UserError(reason, path=path, key="tune.by")
        return cls(path, config, manifests)

    def training_folders(self, job: PretrainJob | EncodeJob, datasets: Path) -> list[Path]:
        """The folders of HR photographs that a job trains on."""
        return [datasets / name / str(self.manifests[name].training_folder) for name in job.data.sets]

    def heldout_folder(self, datasets: Path) -> Path | None:
        """The set on which the held-out loss is measured."""
        return datasets / self.config.heldout.set if self.config.heldout else None

    def differences(self, arm: str, other: str) -> list[str]:
        """The differences of two arms besides the recipe of the FRAMER loss, as "key: ours, not theirs".

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
        """The settings of an arm's training and restoring at a seed, by dotted keys."""
        if arm not in {self.rows[run].arm for run in self.runs}:
            raise UserError("is not trained; choose an arm that the study trains", path=self.path, key=f"arms.{arm}")

        def at(seed: int) -> dict[str, Any]:
            run = f"{arm}-s{seed}"
            return flat(self.planned_job(run).as_dict()) | flat(self.restore_job(run).as_dict(), "restore.")

        return at

    def pretrain_job(self, base: str) -> PretrainJob:
        """What `framer pretrain` does for a base.

        Raises:
            UserError: the study trains no base of that name.
        """
        if base not in self.bases:
            raise UserError(unknown("base", base, self.bases), path=self.path, code="unknown")
        name = base.removesuffix("-untrained")
        pretrain = self.config.backbones[name].pretrain
        stages = {"base": pretrain} if pretrain else {}
        job = PretrainJob(**self._training(name, {}, "base", 0, stages, untrained=base != name))
        # A base learns from photographs alone, and from each pair once.
        return replace(job, data=replace(job.data, pairs=None, seed=0), captions=None)

    def planned_job(self, run: str) -> TrainJob:
        """What is known of `train_job` before there is any result: of a tuned run, all but its weight.

        The seeds name neither arm nor recipe: all arms of a backbone see the same images, degradations, timesteps
        and noise in the same order, so that a comparison at one seed is a paired one.

        Raises:
            UserError: no run of that name.
        """
        if run not in self.runs:
            raise UserError(unknown("run", run, self.runs), path=self.path, code="unknown")
        # The workflow asks many times for each of hundreds.
        if run not in self._train_jobs:
            self._train_jobs[run] = self._train_job(run)
        return self._train_jobs[run]

    @cached_property  # the workflow asks for it once per run
    def searched(self) -> dict[str, dict[float, str]]:
        """The tuned runs that are chosen among runs of their seed: by each weight, the run that was trained with it."""
        return {
            f"{arm}-s{seed}": {value: f"{of}-s{seed}" for value, of in search.values.items()}
            for arm, search in self.searches.items()
            for seed in search.complete
        }

    def candidates(self, run: str) -> dict[float, str]:
        """By each weight, the run whose scores decide on a searched run: those of the seed of its search.

        Raises:
            UserError: the study does not search it.
        """
        if run not in self.searched:
            raise UserError(unknown("searched run", run, self.searched), path=self.path, key="tune", code="unknown")
        return self.searched[str(self.choice(run))]

    def search_digest(self, run: str) -> str:
        """A digest of what a searched run is chosen among, and by what.

        Raises:
            UserError: the study does not search it.
        """
        values = self.candidates(run)
        assert self.config.tune is not None
        jobs = {of: self.planned_job(of).digest for of in {*values.values(), *self.searched[run].values()}}
        return digest(
            [[*self.searched[run].items()], [*values.items()], jobs, self.config.tune.by, self.config.protocols[0]]
        )

    def choice(self, run: str) -> str | None:
        """The searched run, maybe itself, whose weight a tuned run has; None of a run that is not tuned."""
        arm, seed = self.rows[run].arm, self.rows[run].seed
        if arm not in self.searches:
            return None
        return f"{arm}-s{seed if seed in self.searches[arm].seeds else self.searches[arm].seeds[0]}"

    def train_job(self, run: str) -> TrainJob:
        """What `framer train` does for a run.

        Raises:
            UserError: no run of that name, or the weight of a tuned run is not chosen yet.
        """
        job, choice = self.planned_job(run), self.choice(run)
        if choice is None:
            return job
        how = f"framer tune --study {self.path} --run {choice} --out {self.paths.run(choice)}"
        assert job.recipe is not None, "of an arm with an auxiliary loss"
        return replace(job, recipe=replace(job.recipe, weight=read_choice(self.paths.tuning(choice), how)))

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
        encoded = [name for name, config in self.config.backbones.items() if config.data and config.data.encode]
        if backbone not in encoded:
            raise UserError(unknown("backbone with data.encode", backbone, encoded), path=self.path, code="unknown")
        config = self.config.backbones[backbone]
        settings = settings_of(backbone, config.settings).training
        training = self._training(backbone, settings, "train", 0, config.train, untrained=False)
        kept = ("backbone", "base", "settings", "data", "captions", "threads")
        crops = {stage.crop for stage in config.train.values()}
        if len(crops) > 1:
            message = "the stages have different crops; give all of them one crop, or drop encode"
            raise UserError(message, path=self.path, key=f"backbones.{backbone}.data.encode", code="conflict")
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
        assert data is not None, "of a backbone that is trained"
        seed = derive_seed(self.config.seed, "pairs", backbone) if data.pairs else 0
        return TrainingData(tuple(data.sets), data.degradation, data.pairs, seed, data.crops, data.augmentation)

    def restore_job(self, row: str) -> RestoreJob:
        """What `framer restore` does for a row, on every set alike."""
        named, arm, own = self.backbone(row), self.arm(row), self.arms[self.rows[row].arm]
        loaded = named[0] if named else arm.model
        # Of a row that restores with another arm's model: that one's settings, and its own over them.
        given = ((named[1].settings,) if named else ()) + (arm.settings, own.settings)
        return RestoreJob(
            backbone=loaded,
            settings=settings_of(loaded, *given).set_for_restoring if loaded else {},
            blank_lr=own.blank_lr,
            freeu=own.freeu,
            seed=derive_seed(self.config.seed, "sampling", self.rows[row].seed or 0),
            threads=self.config.threads,
        )
