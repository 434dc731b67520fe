"""What a study file may say: its keys, their types and their defaults."""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from framer.backbones.registry import settings_class, settings_of
from framer.config_file import Matching, Name, Strict
from framer.data.degradation.presets import PRESETS
from framer.errors import UserError, unknown
from framer.scoring.protocols import PROTOCOLS, Protocol
from framer.study.analysis_config import AnalysisConfig
from framer.study.arms import AblationConfig, ArmConfig, Distinct, Seeds, check_keys
from framer.study.rivals import RivalsConfig
from framer.study.sweeps import Sweep, points
from framer.study.tuning import Search, TuneConfig, searches


class Optimisation(Strict):
    """How long and how one stage is optimised (AdamW)."""

    steps: int = Field(ge=0, description="optimiser steps; 0 keeps the starting weights")
    batch: int = Field(ge=1, description="images a step, over all ranks")
    crop: int = Field(ge=32, le=8192, multiple_of=32, description="side of the HR training crop, pixels")
    lr: float = Field(gt=0, description="learning rate after warm-up")
    warmup: int = Field(0, ge=0, description="steps of linear warm-up")
    decay: bool = Field(False, description="cosine decay to zero after the warm-up; otherwise constant")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    accumulate: int = Field(
        1, ge=1, description="parts of a batch, one after the other; FRAMER contrasts images of one part"
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the moving average that becomes the weights; 0 for none")

    @model_validator(mode="after")
    def _batch_is_divisible(self) -> "Optimisation":
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate: the batch of {self.batch} has no {self.accumulate} equal parts")
        return self


class Numerics(Strict):
    """How a training computes; part of what it gives."""

    precision: Literal["float32", "bf16", "fp16"] = Field(
        default="float32", description="of arithmetic and frozen weights; what trains stays in float32"
    )
    compile: bool = Field(default=False, description="torch.compile the network")
    deterministic: bool = Field(default=True, description="the same bits again; slower on GPUs")


class DataConfig(Strict):
    """The training images of a backbone and how LR is made of them."""

    sets: list[Name] = Field(min_length=1)
    degradation: str = Field(description="a preset of framer.data.degradation.presets")
    crops: Literal["any", "textured"] = Field(
        "any", description="textured: draw flat crops anew and skip small photographs, as DiT4SR's released code does"
    )
    augmentation: Literal["flip", "flip_rotate"] = Field(
        "flip", description="mirror crops horizontally, as all released codes do; flip_rotate adds quarter turns"
    )

    pairs: int | None = Field(
        None, ge=1, description="train on so many pairs again and again; default: never the same twice"
    )
    encode: bool = Field(
        False, description="encode the pairs once, before training; as encoding them in it, up to rounding"
    )

    @model_validator(mode="after")
    def _only_finite_pairs_are_encoded(self) -> "DataConfig":
        if self.encode and self.pairs is None:
            raise ValueError("encode: needs pairs, the number of them")
        return self

    @field_validator("degradation")
    @classmethod
    def _known_degradation(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(unknown("degradation", name, PRESETS))
        return name


class CaptionsConfig(Strict):
    """Where a backbone's prompts come from; without it, all are empty."""

    folder: str | None = Field(None, description="holds SET.csv (image,caption) or SET/STEM.txt for every set")
    model: Annotated[str, Matching(r"^[\w.-]+/[\w.-]+$", "owner/name on the hub")] | None = Field(
        None, description="captions by this model of transformers on the hub, owner/name"
    )
    missing: Literal["error", "empty"] = Field("error", description="an image without a caption: refuse, or no prompt")
    restoring: bool = Field(
        True, description="use captions in restoring, too; PiSA-SR's release uses its tags in training only"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "CaptionsConfig":
        if (self.folder is None) == (self.model is None):
            raise ValueError("captions: name a folder or a model, one of them")
        return self


class BackboneConfig(Strict):
    """One backbone: its base, how that is trained where it is ours, and how the arms are."""

    base: Annotated[str, Matching(r"^(tiny|random|[\w.-]+/[\w.-]+)$", "tiny, random, or owner/name on the hub")] = (
        Field(
            description="'tiny', 'random' (full size, for measuring), or a diffusers pipeline on the hub, owner/name",
        )
    )
    data: DataConfig | None = Field(
        None, description="what arms are trained on; omitted where all have published weights"
    )
    captions: CaptionsConfig | None = None
    pretrain: Optimisation | None = Field(
        None, description="how a tiny base is trained; default: weights/tiny/BACKBONE, which was"
    )
    train: dict[str, Optimisation] = Field(
        default={}, description="how arms are trained, a stage at a time; with `data`"
    )
    numerics: Numerics = Numerics()
    settings: dict[str, Any] = Field(default={}, description="see framer.backbones.settings")
    gpus: int = Field(1, ge=1, description="that a training asks a cluster for; no part of what is trained")

    @property
    def training_sets(self) -> list[str]:
        """The sets of `data`; none where nothing is trained."""
        return self.data.sets if self.data else []

    @model_validator(mode="after")
    def _spread_evenly(self) -> "BackboneConfig":
        for name, stage in self.train.items():
            if stage.batch % (self.gpus * stage.accumulate):
                parts = f"{self.gpus} GPUs" + (f" with accumulate {stage.accumulate}" if stage.accumulate > 1 else "")
                raise ValueError(f"gpus: the batch of {stage.batch} of train.{name} cannot be split over {parts}")
        return self


class HeldOutConfig(Strict):
    """On what the held-out loss is measured."""

    set: Name
    draws: int = Field(ge=1, description="(image, sigma, noise) triples")


class StudyConfig(Strict):
    """A whole study file."""

    title: str
    seed: int = Field(ge=0, description="every random draw of the study derives from it")
    seeds: Seeds = Field(default=[0], description="training seeds, each a run of every trained arm")
    threads: int = Field(
        1, ge=1, le=1024, description="CPU threads a job; part of the result, since it orders the sums"
    )
    strict: bool | Literal["all"] = Field(
        False,
        description="true: weights of metrics that cannot be fetched are an error, not n/a; "
        "all: so are missing sets, published weights and images of others",
    )
    sets: Distinct = Field(description="test sets, in the order of the tables")
    protocols: Distinct
    metrics: Distinct
    heldout: HeldOutConfig | None = None
    analysis: AnalysisConfig | None = None
    trackers: list[str] = Field(default=["tensorboard"], description="of accelerate, such as wandb; part of no result")
    backbones: dict[str, BackboneConfig] = Field(default={})
    arms: dict[Name, ArmConfig] = Field(min_length=1)
    ablations: dict[str, AblationConfig] = Field(
        default={}, description="by backbone; recipes of `arms` are not repeated"
    )

    sweeps: dict[Name, Sweep] = Field(
        default={},
        description="one numeric field of an arm over several values: of, and recipe.FIELD or settings.FIELD",
    )

    tune: TuneConfig | None = Field(
        None, description="a search for the weight of the auxiliary loss of some arms, judged on held-out pairs"
    )

    rivals: RivalsConfig | None = Field(
        None, description="more arms, made only with --config rivals=true; without it as if they were not there"
    )

    compare: list[Annotated[Distinct, Field(min_length=2, max_length=2)]] = Field(
        default=[], description="pairs of rows whose paired difference is tested: arms, or methods of published scores"
    )

    @model_validator(mode="after")
    def _metrics_are_defined(self) -> "StudyConfig":
        for protocol in self.protocols:
            try:
                Protocol.named(protocol).select(self.metrics)
            except UserError as error:
                key = "metrics" if protocol in PROTOCOLS else "protocols"
                raise ValueError(f"{key}: {error}") from None
        return self

    @model_validator(mode="after")
    def _labels_tell_rows_apart(self) -> "StudyConfig":
        named = {"LR": "LR images", "HR": "HR images"}
        for name, arm in self.arms.items():
            if other := named.get(arm.title):
                raise ValueError(f"arms.{name}.label: {arm.title!r} is the label of {other}, too; choose another")
            named[arm.title] = f"arms.{name}"
        return self

    @model_validator(mode="after")
    def _backbones_are_known(self) -> "StudyConfig":
        for name, backbone in self.backbones.items():
            where = "backbones"
            try:
                cls = settings_class(name)
                where = f"backbones.{name}.settings"
                settings_of(name, backbone.settings)
                for arm, config in (self.arms | self.ablation_arms).items():
                    if config.backbone == name:
                        where = f"arms.{arm}.settings"
                        settings = settings_of(name, backbone.settings, config.settings)
                        if config.recipe:
                            where = f"arms.{arm}"
                            settings.check(config.recipe.recipe)
            except UserError as error:
                raise ValueError(f"{where}: {error}") from None
            if (backbone.data is None) != (not backbone.train):
                given, other = ("train", "data") if backbone.train else ("data", "train")
                raise ValueError(f"backbones.{name}.{other}: needed with {given}; omit both where nothing is trained")
            for stage in backbone.train:
                if stage not in cls.stages:
                    raise ValueError(f"backbones.{name}.train: {unknown('stage', stage, cls.stages)}")
            if tuple(backbone.train) != cls.stages[: len(backbone.train)]:
                order = ", ".join(cls.stages)
                raise ValueError(f"backbones.{name}.train: the stages are {order}, in this order from the first on")
            if backbone.pretrain is not None and backbone.base != "tiny":
                raise ValueError(f"backbones.{name}.pretrain: for base 'tiny' alone")
        return self

    @property
    def ablation_arms(self) -> dict[str, ArmConfig]:
        """The arms of `ablations`, but for recipes that a plain arm of `arms` has already, as such or as `baseline`."""
        plain = {
            (arm.backbone, arm.recipe)
            for arm in self.arms.values()
            if not (arm.settings or arm.untrained or arm.sets or arm.seeds or arm.checkpoint)
        }
        arms = {name: arm for key, config in self.ablations.items() for name, arm in config.arms(key).items()}
        new = {name: arm for name, arm in arms.items() if (arm.backbone, arm.recipe) not in plain}
        return {name: arm for name, arm in new.items() if self.baseline(arm) is None}

    @property
    def sweep_points(self) -> tuple[dict[str, dict[float, str]], dict[str, ArmConfig]]:
        """The arm of each value of each sweep, and the arms that are in sweeps alone."""
        return points(self.sweeps, self.arms | self.ablation_arms, {k: b.settings for k, b in self.backbones.items()})

    @property
    def tuned(self) -> tuple[dict[str, Search], dict[str, ArmConfig], dict[str, ArmConfig]]:
        """The searches of `tune` by the name of the tuned arm, the tuned arms, and arms that only a search trains."""
        if self.tune is None:
            return {}, {}, {}
        arms = self.arms | self.ablation_arms | self.sweep_points[1]
        return searches(self.tune, arms, {k: b.settings for k, b in self.backbones.items()}, self.seeds)

    def baseline(self, ablation: ArmConfig) -> str | None:
        """The arm of `arms` that an ablation would train once more: with a loss of zero and the same seeds, a baseline.

        Args:
            ablation: an arm of `ablations`.

        Returns:
            None of a recipe whose loss is something, and where no baseline has its settings, seeds and sets.
        """
        if ablation.recipe is None or ablation.recipe.recipe.objective != "none":
            return None
        seeds, sets = {*(ablation.seeds or self.seeds)}, {*(ablation.sets or self.sets)}
        for name, arm in self.arms.items():
            changed = arm.recipe or arm.settings or arm.untrained or arm.checkpoint
            has_all = seeds <= {*(arm.seeds or self.seeds)} and sets <= {*(arm.sets or self.sets)}
            if arm.backbone == ablation.backbone and not changed and has_all:
                return name
        return None

    @model_validator(mode="after")
    def _sweeps_and_searches_are_possible(self) -> "StudyConfig":
        try:
            _ = self.sweep_points
            _ = self.tuned
        except UserError as error:
            raise ValueError(str(error)) from None
        if self.tune and "psnr" not in self.metrics:
            raise ValueError("metrics: tune judges by psnr; add it")
        if self.tune and self.tune.by in self.sets:
            raise ValueError(f"tune.by: {self.tune.by} is a test set; name held-out pairs that nothing is tested on")
        return self

    @model_validator(mode="after")
    def _analysis_fits(self) -> "StudyConfig":
        if self.analysis is None:
            return self
        if self.analysis.seed is not None and self.analysis.seed not in self.seeds:
            known = ", ".join(map(str, self.seeds))
            raise ValueError(f"analysis.seed: {self.analysis.seed} is no training seed; there are {known}")
        for name, backbone in self.backbones.items():
            total = sum(stage.steps for stage in backbone.train.values())
            if beyond := [step for step in self.analysis.snapshots if step > total]:
                raise ValueError(
                    f"analysis.snapshots: {beyond[0]} is beyond the {total} steps of {name}; name earlier ones"
                )
        return self

    @model_validator(mode="after")
    def _names_resolve(self) -> "StudyConfig":
        for key in self.ablations:
            if key not in self.backbones:
                raise ValueError(f"ablations: {unknown('backbone', key, self.backbones)}")
        if both := self.arms.keys() & self.ablation_arms.keys():
            raise ValueError(f"arms.{min(both)}: an arm of ablations has this name; rename the arm")
        for name, arm in (self.arms | self.ablation_arms).items():
            for extra in set(arm.sets or ()) - set(self.sets):
                raise ValueError(f"arms.{name}.sets: {unknown('test set', extra, self.sets)}")
            if arm.backbone and arm.backbone not in self.backbones:
                raise ValueError(f"arms.{name}.backbone: {unknown('backbone', arm.backbone, self.backbones)}")
            if arm.backbone and not arm.checkpoint and not self.backbones[arm.backbone].train:
                raise ValueError(
                    f"arms.{name}: is trained; give backbones.{arm.backbone} data and train, or a checkpoint"
                )
            check_keys(name, arm, self.arms, self.backbones)
            # A trained arm's rows are called ARM-sSEED.
            for other in self.arms:
                if name != other and re.fullmatch(re.escape(other) + r"-s\d+", name):
                    raise ValueError(f"arms.{name}: that is how the rows of {other} are called; rename the arm")
        return self


if __name__ == "__main__":
    print(json.dumps(StudyConfig.model_json_schema(), indent=2))
