"""The analyses that a study declares, and of which runs; what `framer analyse` records and the figures show.

A study with an `analysis` section has a folder `results/<study>/analysis/<backbone>` for every backbone that it trains,
with the arrays of `framer.analysis.arrays` and, under `early`, images of the first steps of training.
"""

from collections.abc import Mapping
from pathlib import Path

from framer.backbones.registry import settings_of
from framer.method.recipes import ABLATIONS
from framer.provenance.hashing import derive_seed
from framer.study.analysis_config import AnalysisConfig
from framer.study.availability import rows_without_model
from framer.study.jobs import AnalyseJob, CostJob
from framer.study.layout import EARLY
from framer.study.study import Study

WEIGHTS = "weights"
"""Arrays and figure of FAW and FAM (Fig. 9), of the run with the recipe `paper`."""
ALWAYS = ("densities", "layers", "images")


def analysed(study: Study, missing: Mapping[str, str]) -> list[str]:
    """The backbones that are analysed; `missing` as in `framer.study.availability`."""
    if study.config.analysis is None or study.config.analysis.set in missing:
        return []
    excluded = {*rows_without_model(study, missing)}
    return [name for name in study.config.backbones if (runs := main_runs(study, name)) and not excluded & {*runs}]


def analyse_job(study: Study, backbone: str) -> AnalyseJob:
    """What is recorded of a backbone, one of `analysed`."""
    config, analysis = study.config.backbones[backbone], study.config.analysis
    assert analysis is not None
    runs = main_runs(study, backbone)
    recipes = {str(study.arm(run).recipe): run for run in reversed(study.runs) if _of(study, run, backbone)}
    compared = {recipe: recipes[recipe] for recipe in AnalysisConfig.compared if recipe in recipes}
    return AnalyseJob(
        backbone=backbone,
        set=analysis.set,
        images=analysis.images,
        runs={study.rows[run].arm: run for run in runs},
        compared=compared if analysis.snapshots else {},
        snapshots=tuple(analysis.snapshots) if compared else (),
        precision=config.numerics.precision,
        settings=settings_of(backbone, config.settings).set_for_restoring,
        captions=study.captions(backbone),
        seed=derive_seed(study.config.seed, "analysis", backbone),
        sampling=derive_seed(study.config.seed, "sampling", study.analysed_seed),
        threads=study.config.threads,
    )


def main_runs(study: Study, backbone: str) -> list[str]:
    """The runs of a backbone at the analysed seed that are neither ablations nor tuned, baselines first."""
    others = {*study.ablation_arms, *study.searches}
    own = [run for run in study.runs if _of(study, run, backbone) and study.rows[run].arm not in others]
    runs = [run for run in own if str(study.arm(run).recipe) not in ABLATIONS]
    return sorted(runs, key=lambda run: study.arm(run).recipe is not None)


def cost_job(study: Study, missing: Mapping[str, str]) -> CostJob | None:
    """What is measured of all backbones; None where the study does not declare it."""
    analysis, excluded = study.config.analysis, rows_without_model(study, missing)
    if analysis is None or analysis.cost is None:
        return None
    runs = [run for name in study.config.backbones for run in main_runs(study, name) if run not in excluded]
    by_arm = {study.rows[run].arm: run for run in runs}
    if not by_arm:
        return None
    restoring = {run: study.restore_job(run).settings for run in runs}
    jobs = {run: study.planned_job(run) for run in runs}
    training = {run: {"numerics": job.numerics.model_dump(), "settings": job.settings} for run, job in jobs.items()}
    cost = analysis.cost.model_dump()
    return CostJob(by_arm, restoring, **cost, threads=study.config.threads, training=training)


def names(job: AnalyseJob) -> tuple[str, ...]:
    """The names of the arrays that a job records, which are those of its figures."""
    weights = (WEIGHTS,) if "paper" in job.compared else ()
    return (*ALWAYS, *weights, *((EARLY,) if job.compared else ()))


def figures(study: Study, missing: Mapping[str, str]) -> dict[str, Path]:
    """The figures of the analyses, `BACKBONE-NAME`, each with the file or folder that it is drawn from."""
    return {
        f"{backbone}-{name}": study.paths.analysis(backbone) / (name if name == EARLY else f"{name}.npz")
        for backbone in analysed(study, missing)
        for name in names(analyse_job(study, backbone))
    }


def _of(study: Study, run: str, backbone: str) -> bool:
    arm = study.arm(run)
    return arm.backbone == backbone and not arm.untrained and study.rows[run].seed == study.analysed_seed
