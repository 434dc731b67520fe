"""The grid that a study spans: arms, seeds, sets; which of them are trained, and from which base."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from framer.external.manifest import MethodManifest
from framer.study.arms import ArmConfig
from framer.study.layout import OF_STUDIES, OF_TRAINING, TINY_BASES, Paths
from framer.study.schema import BackboneConfig, StudyConfig
from framer.weights.store import pipeline

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


class StudyGrid:
    """All rows of a study's tables, with what each is made of."""

    def __init__(self, path: Path, config: StudyConfig):
        self.path, self.config = path, config
        self.sweeps, self.sweep_arms = config.sweep_points
        self.searches, tuned, self.search_arms = config.tuned
        self.arms = config.arms | tuned | config.ablation_arms | self.sweep_arms | self.search_arms
        self.name = path.stem
        self.paths = Paths(self.name)
        self.out = self.paths.out

    @cached_property
    def rows(self) -> dict[str, Row]:
        """All rows by id, in the order of the tables: a trained arm has one per seed."""
        rows = {}
        for name, arm in self.arms.items():
            if arm.backbone is None and arm.of is None:  # bicubic, images of others, a network that is not trained
                rows[name] = Row(name, name, None, None)
            else:
                model = arm.of or name
                published = self.arms[model].checkpoint
                for seed in self.seeds_of(name):
                    run = model if published else f"{model}-s{seed}"
                    rows[f"{name}-s{seed}"] = Row(f"{name}-s{seed}", name, seed, run)
        return rows

    def seeds_of(self, arm: str) -> list[int]:
        """The seeds of an arm with a model, of training or, of published weights, of sampling.

        An arm that takes its model from another has those of that one.
        """
        config = self.arms[arm]
        own = [0] if config.checkpoint else self.config.seeds
        return config.seeds or (self.seeds_of(config.of) if config.of else own)

    @cached_property
    def runs(self) -> list[str]:
        """The rows that are trained; a row that restores with another's model is none."""
        return [row.id for row in self.rows.values() if row.run == row.id]

    @property
    def figures(self) -> dict[str, str]:
        """The figures of `OF_STUDIES` that have something to show here, each with its caption."""
        return {name: text for name, text in OF_STUDIES.items() if self.runs or name not in OF_TRAINING}

    @property
    def released(self) -> dict[str, str]:
        """The arms that restore with published weights of a backbone: their id, by arm, which is the run's name."""
        return {name: arm.checkpoint for name, arm in self.arms.items() if arm.checkpoint and arm.backbone}

    @property
    def feed_forward(self) -> dict[str, str]:
        """The arms that restore with a network of another architecture: the id of its weights, by arm and only row."""
        return {name: arm.checkpoint for name, arm in self.arms.items() if arm.checkpoint and arm.model}

    @property
    def published(self) -> dict[str, str]:
        """All arms with published weights: the id of these, by arm."""
        return {name: arm.checkpoint for name, arm in self.arms.items() if arm.checkpoint}

    @property
    def methods(self) -> dict[str, str]:
        """The arms that another method's code restores: the id of its manifest, by arm and only row."""
        return {name: arm.method for name, arm in self.arms.items() if arm.method}

    @cached_property
    def method_manifests(self) -> dict[str, MethodManifest]:
        """The manifests of those methods, by arm.

        Raises:
            UserError: one is missing or wrong.
        """
        return {arm: MethodManifest.load(name) for arm, name in self.methods.items()}

    @property
    def method_weights(self) -> dict[str, list[str]]:
        """The ids of the weights of those methods, by arm."""
        return {arm: manifest.weights for arm, manifest in self.method_manifests.items()}

    @property
    def supplied(self) -> list[str]:
        """The arms whose images others restored; each is its own only row."""
        return [name for name, arm in self.arms.items() if arm.images]

    @cached_property
    def ablation_arms(self) -> frozenset[str]:
        """Arms that stand in the ablation grid, in sweeps or in the search for a weight alone."""
        return frozenset({*self.config.ablation_arms, *self.sweep_arms, *self.search_arms})

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
        """The bases that the study makes itself; published ones are fetched, and pretrained tiny ones are here."""
        return list(dict.fromkeys(self.base_of(run) for run in self.runs if self.makes_base(run)))

    def makes_base(self, run: str) -> bool:
        """Whether the study makes the base of a run: one with random weights, or a tiny one that it pretrains."""
        arm = self.arm(run)
        config = self.config.backbones[str(arm.backbone)]
        return config.base == "random" or (config.base == "tiny" and (arm.untrained or config.pretrain is not None))

    def base_folder(self, run: str) -> Path:
        """The folder of the base that a run starts from, which studies share unless they make it."""
        if self.makes_base(run):
            return self.paths.base(self.base_of(run))
        name = str(self.arm(run).backbone)
        base = self.config.backbones[name].base
        return TINY_BASES / name if base == "tiny" else pipeline(base)

    def arm(self, row: str) -> ArmConfig:
        """The arm whose model restores a row."""
        arm = self.arms[self.rows[row].arm]
        return self.arms[arm.of] if arm.of else arm

    def backbone(self, row: str) -> tuple[str, BackboneConfig] | None:
        """The backbone's name and settings behind a row, or None for bicubic."""
        name = self.arm(row).backbone
        return (name, self.config.backbones[name]) if name else None

    def base_of(self, run: str) -> str:
        """The base that a run starts from: one per backbone, and an untrained one where an arm asks for it."""
        arm = self.arm(run)
        return f"{arm.backbone}-untrained" if arm.untrained else str(arm.backbone)

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
