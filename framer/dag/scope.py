"""The one study that the workflow runs, and what of it can be made on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from framer.backbones.registry import settings_of
from framer.dag.missing import find_missing, weights_of
from framer.dag.weights import Weights
from framer.errors import UserError, unknown
from framer.scoring.protocols import Protocol
from framer.study import analysis_jobs
from framer.study.availability import judged, not_available, rows_without_model
from framer.study.jobs import AnalyseJob, CostJob
from framer.study.layout import DATASETS
from framer.study.study import Study


@dataclass(frozen=True)
class Scope:
    """What of a study can be made here. Everything is resolved once per process.

    Attributes:
        study: the study.
        missing: manually downloaded data and weights that are not here, with instructions; see `framer.dag.missing`.
        rivals: whether the study's optional part is asked for.
    """

    study: Study
    missing: Mapping[str, str]
    rivals: bool = False

    @classmethod
    def open(cls, config: Mapping[str, Any]) -> "Scope":
        """The study named by `--config study=NAME`, by default `paper`; with `rivals=true` also its optional part.

        Only that file is read. Any other key of Snakemake's config would be a setting that no study has: it is refused.

        Raises:
            UserError: a key other than these two, or a study that cannot be loaded.
        """
        name = config.get("study", "paper")
        for key in config:
            if key not in ("study", "rivals"):
                message = f"{unknown('key', key, ['study', 'rivals'])}; settings belong into config/{name}.yaml"
                raise UserError(message, key=f"--config {key}", code="unknown")
        if name != Path(name).stem:
            message = f"give the name of the study alone: study={Path(name).stem}"
            raise UserError(message, key=f"--config study={name}")
        asked = str(config.get("rivals", False)).lower()  # Snakemake reads True as a truth value, and true as text
        if asked not in ("true", "false"):
            raise UserError(f"{asked!r} is neither true nor false; drop it or give true", key="--config rivals")
        rivals = asked == "true"
        study = Study.load(Path("config") / f"{name}.yaml", DATASETS, rivals=rivals)
        return cls(study, find_missing(study, DATASETS), rivals)

    @cached_property
    def without_model(self) -> dict[str, str]:
        """Rows whose model can neither be trained nor loaded here, with the reason; `n/a` in the tables."""
        return rows_without_model(self.study, self.missing)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The rows and test sets that can be restored and scored here."""
        reasons = not_available(self.study, self.missing)
        return [pair for pair in self.study.pairs if pair not in reasons]

    @cached_property
    def judged(self) -> list[tuple[str, str]]:
        """The rows of searches that can be trained here, with the held-out set that they restore."""
        return judged(self.study, self.missing)

    @property
    def restored(self) -> list[tuple[str, str]]:
        """All that is restored and scored here: on test sets, and in searches."""
        return [*self.pairs, *self.judged]

    @cached_property
    def searched(self) -> list[str]:
        """The tuned runs that a search chooses and that can be trained here."""
        return [run for run in self.study.searched if run in self.runs]

    @cached_property
    def runs(self) -> list[str]:
        """The runs that can be trained here."""
        return [run for run in self.study.runs if run not in self.without_model]

    @cached_property
    def bases(self) -> list[str]:
        """The study's own bases that those runs start from."""
        needed = {self.study.base_of(run) for run in self.runs}
        return [base for base in self.study.bases if base in needed]

    @cached_property
    def released(self) -> list[str]:
        """Arms whose published weights are here or can be fetched."""
        return [arm for arm, weights in self.study.released.items() if weights not in self.missing]

    @property
    def interpolated(self) -> list[str]:
        """Rows without a model: bicubic interpolation."""
        others = {*self.study.supplied, *self.study.feed_forward, *self.study.methods}
        return [row.id for row in self.study.rows.values() if row.run is None and row.id not in others]

    @cached_property
    def weights(self) -> Weights:
        """Weights of metrics, losses and published models."""
        return weights_of(self.study)

    @cached_property
    def metric_weights(self) -> list[str]:
        """The manifests of the weights of the metrics of all protocols."""
        config = self.study.config
        selected = [Protocol.named(name).select(config.metrics) for name in config.protocols]
        return self.weights.of_metrics(metric for metrics in selected for metric in metrics)

    @cached_property
    def optional_weights(self) -> list[str]:
        """Weights of metrics alone that only the network has: without them a metric is n/a.

        None in a strict study.
        """
        if self.study.config.strict:
            return []
        trained_with = {
            *self.study.released.values(),
            *(name for names in self.loss_weights.values() for name in names),
        }
        return [name for name in self.metric_weights if self.weights.may_fail(name) and name not in trained_with]

    @cached_property
    def loss_weights(self) -> dict[str, tuple[str, ...]]:
        """The manifests of the weights of the training losses, by run."""
        jobs = {run: self.study.planned_job(run) for run in self.runs}
        return {
            run: settings_of(job.backbone, job.settings).needs(
                [name for name, stage in job.stages.items() if stage.steps]
            )
            for run, job in jobs.items()
        }

    @property
    def needed_weights(self) -> list[str]:
        """The manifests of all weights that scoring and training need besides bases."""
        needed = (self.metric_weights, *self.loss_weights.values())
        return list(dict.fromkeys(name for names in needed for name in names))

    @cached_property
    def analyses(self) -> dict[str, AnalyseJob]:
        """The analyses that the study declares, by backbone, of the backbones that can be trained here."""
        backbones = analysis_jobs.analysed(self.study, self.missing)
        return {name: analysis_jobs.analyse_job(self.study, name) for name in backbones}

    @cached_property
    def cost(self) -> CostJob | None:
        """The measurement of training cost, where the study declares it."""
        return analysis_jobs.cost_job(self.study, self.missing)
