"""Tables, figures and the report of a study; where a number comes from; what a study requires."""

import argparse
from collections.abc import Callable
from pathlib import Path

from framer.commands.arguments import (
    DATASETS,
    RIVALS,
    STUDY,
    Argument,
    Handler,
    Renamed,
    arg,
    command,
    one_thread,
    study_of,
    study_path,
)
from framer.errors import UserError


def rendering(text: str, metavar: str, out: str, *more: Argument) -> Callable[[Handler], Handler]:
    """Register a function as a command that renders the results of a study into `--out`, described by `out`.

    It has the arguments that all of these have, and `more`.
    """
    return command(
        text,
        STUDY,
        arg("--out", type=Path, required=True, metavar=metavar, help=out),
        RIVALS,
        DATASETS,
        arg(
            "--missing",
            nargs="*",
            default=[],
            metavar="NAME",
            help="sets, weights and ARM/SET that are not on this machine; cells that need them are n/a",
        ),
        arg("--absent", action=Renamed, nargs="*", const="--missing", help=argparse.SUPPRESS),
        *more,
    )


def _render(args: argparse.Namespace, render: Callable[..., object], **more: object) -> None:
    from framer.dag.missing import instructions

    study = study_of(args)
    render(study, args.out, missing=instructions(study, args.missing, args.datasets), datasets=args.datasets, **more)


@rendering("render a study's tables from its scores", "DIR", "folder for the tables")
def tables(args: argparse.Namespace) -> None:
    one_thread()
    from framer.report.tables import render

    _render(args, render)


@rendering("draw a study's figures as PDF and SVG", "DIR", "folder for the figures")
def figures(args: argparse.Namespace) -> None:
    one_thread()
    from framer.report.figures import render

    _render(args, render)


@rendering(
    "render a study's report, one HTML file that needs no network",
    "FILE.html",
    "where the report goes",
    arg("--since", type=Path, metavar="FOLDER", help="older result folder, such as results/OLD: list what changed"),
)
def report(args: argparse.Namespace) -> None:
    one_thread()
    from framer.report.page import render

    _render(args, render, since=args.since)


@command(
    "show where a cell of the tables comes from, down to hashes of images and weights",
    arg("cell", metavar="CELL", help="its id, or ARM/SET/PROTOCOL/METRIC"),
    STUDY,
    DATASETS,
)
def why(args: argparse.Namespace) -> None:
    one_thread()
    from framer.report.cells import find
    from framer.report.lineage import lines

    cell = find(study_of(args), args.cell, args.datasets)
    print(f"{cell.id}  {cell.arm}/{cell.set}/{cell.protocol}/{cell.metric.name}  {cell.text}")
    print("\n".join(lines(cell.tree, 1)))


@command(
    "show what differs between two cells: images, weights, settings, versions",
    arg("cells", nargs=2, metavar="CELL", help="an id, or ARM/SET/PROTOCOL/METRIC"),
    arg("--study", type=study_path, required=True, nargs="+", help="study file; a second one for the second cell"),
    DATASETS,
)
def diff(args: argparse.Namespace) -> None:
    one_thread()
    from framer.report.cells import find
    from framer.report.lineage import differences
    from framer.study.study import Study

    if len(args.study) > 2:
        raise UserError("diff: --study takes one study file, or one for each cell")
    studies = [Study.load(path, args.datasets, rivals=None) for path in (args.study[0], args.study[-1])]
    one, other = (find(study, name, args.datasets) for study, name in zip(studies, args.cells, strict=True))
    print(f"{one.id}  {one.arm}/{one.set}/{one.protocol}/{one.metric.name}  {one.text}")
    print(f"{other.id}  {other.arm}/{other.set}/{other.protocol}/{other.metric.name}  {other.text}")
    for key, value, other_value in differences(one.tree, other.tree):
        print(f"  {key}\n    {value}\n    {other_value}")


@command(
    "estimate what a study requires on this machine: jobs, GPU-hours, disk, wall time; nothing is written",
    STUDY,
    arg("--gpus", type=int, default=8, metavar="N", help="devices at once (default: 8)"),
    arg("--all", action="store_true", help="as if all manually downloaded data were here"),
    arg(
        "--spreads",
        type=study_path,
        metavar="STUDY",
        help="finished study whose spreads are taken for the planned gains",
    ),
    RIVALS,
    DATASETS,
)
def plan(args: argparse.Namespace) -> None:
    from framer.dag.missing import find_missing
    from framer.dag.plan import Plan
    from framer.dag.preflight import left_out
    from framer.dag.scope import Scope
    from framer.report.power import measured_effects, power_lines
    from framer.study.study import Study

    if args.gpus < 1:
        raise UserError(f"{args.gpus}: at least one device is required", key="plan: --gpus")
    study = study_of(args)
    scope = Scope(study, {} if args.all else find_missing(study, args.datasets))
    measured = None
    if args.spreads:
        finished = Study.load(args.spreads, args.datasets)
        measured = measured_effects(finished, find_missing(finished, args.datasets), args.datasets)
    print("\n".join([*Plan(scope).table_lines(args.gpus), *(f"Not counted, {line}" for line in left_out(scope))]))
    print("\n".join(power_lines(study, measured)))
