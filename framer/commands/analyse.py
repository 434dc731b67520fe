"""The command `framer analyse`: analyses of trained models, and the cost of training them."""

import argparse
from pathlib import Path

from framer.commands.arguments import DATASETS, EXPECT, RIVALS, arg, command, planned, study_of, study_path
from framer.errors import UserError, unknown


@command(
    "record a study's analyses of one backbone on its trained runs, or measure what training costs",
    arg("--study", type=study_path, required=True, help="study file with an 'analysis' section"),
    arg("--backbone", help="a backbone of the study"),
    arg("--cost", action="store_true", help="measure time and memory on this machine's device instead"),
    arg("--out", type=Path, required=True, metavar="PATH", help="folder of the analyses; with --cost a CSV file"),
    RIVALS,
    DATASETS,
    EXPECT,
)
def analyse(args: argparse.Namespace) -> None:
    if args.cost:
        _measure(args)
        return
    from framer.study.analysis_jobs import analyse_job, analysed

    study = study_of(args)
    if study.config.analysis is None:
        raise UserError("missing; docs/analyses.md describes it", path=args.study, key="analysis", code="missing")
    if args.backbone not in (known := analysed(study, {})):
        message = unknown("backbone with an analysis", str(args.backbone), known)
        raise UserError(message, path=args.study, key="--backbone", code="unknown")
    job = analyse_job(study, args.backbone)
    planned(args, job.digest)

    from framer.analysis.record import analyse as run

    run(job, args.datasets, study.paths.runs, args.out)


def _measure(args: argparse.Namespace) -> None:
    """Measure the cost. Separate, so that the analyses do not depend on the code that measures."""
    from framer.study.analysis_jobs import cost_job

    study = study_of(args)
    if (job := cost_job(study, {})) is None:
        message = "missing; the cost of training is measured only where a study asks for it"
        raise UserError(message, path=args.study, key="analysis.cost", code="missing")
    planned(args, job.digest)

    from framer.analysis.cost import measure

    jobs = {run: study.train_job(run) for run in job.runs.values()}
    measure(job, jobs, study.paths.runs, args.out)
