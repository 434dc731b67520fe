"""Scores of images, imported scores, and checks of the installation."""

import argparse
import sys
from pathlib import Path

from framer.commands.arguments import arg, command, threads
from framer.errors import UserError


@command(
    "score restored images under a named protocol",
    arg("--sr", type=Path, required=True, nargs="+", metavar="DIR", help="folders of restored images"),
    arg("--hr", nargs="+", default=["-"], metavar="DIR", help="HR images: one folder for all or one each, - for none"),
    arg("--metrics", required=True, help="comma-separated: psnr,ssim,lpips,niqe,maniqa,musiq,dists,clipiqa,liqe,fid"),
    arg(
        "--protocol",
        required=True,
        nargs="+",
        metavar="NAME",
        help="definitions of the metrics: osediff, seesr, framer, or a file of your own, .yaml",
    ),
    arg(
        "--out",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE.csv",
        help="one per folder and protocol: all protocols of the first folder come first; its sidecar is FILE.json",
    ),
    arg("--threads", type=threads, help="CPU cores, which change no value (default: those at hand, at most 8)"),
    arg("--label", help="name of a method in the tables, for images that no study restores; needs --source"),
    arg("--source", help="origin of its images"),
)
def score(args: argparse.Namespace) -> None:
    import os

    from framer.scoring.folders import Task, score_folders

    hr = args.hr * len(args.sr) if len(args.hr) == 1 else args.hr
    if len(args.sr) != len(hr):
        raise UserError(f"{len(args.sr)} folders of --sr need one --hr or as many, not {len(hr)}", key="--hr")
    wanted = len(args.sr) * len(args.protocol)
    if len(set(args.protocol)) < len(args.protocol):
        raise UserError("a protocol is named twice; name it once", key="--protocol", code="conflict")
    if len(args.out) != wanted:
        raise UserError(f"{wanted} files are needed, one per folder and protocol, not {len(args.out)}", key="--out")
    if (args.label is None) != (args.source is None):
        raise UserError("needs --source, and --source needs --label", key="--label", code="conflict")
    origin = {"label": args.label, "source": args.source} if args.label else None
    outs = iter(args.out)
    tasks = [
        Task(sr, None if name == "-" else Path(name), {protocol: next(outs) for protocol in args.protocol})
        for sr, name in zip(args.sr, hr, strict=True)
    ]
    cores = min(8, len(os.sched_getaffinity(0))) if args.threads is None else args.threads
    done = score_folders(tasks, args.metrics.split(","), cores, origin)
    for reason in dict.fromkeys(reason for summary in done for reason in summary.unavailable.values()):
        print(f"framer: n/a: {reason}", file=sys.stderr)
    for summary in done:
        means = "  ".join(f"{name} {value:.4f}" for name, value in summary.means.items())
        print(f"{summary.out}: {means or 'no metric could be computed'}")


@command(
    "find the definition that a published score was made with, by computing all that papers use on the same images",
    arg("--sr", type=Path, required=True, metavar="DIR", help="the published images"),
    arg("--hr", type=Path, metavar="DIR", help="their HR images; NIQE needs none"),
    arg(
        "--published",
        required=True,
        nargs="+",
        metavar="METRIC=NUMBER",
        help="published means with all their decimals: psnr, ssim, lpips or niqe, such as psnr=25.15",
    ),
)
def match(args: argparse.Namespace) -> None:
    from tabulate import tabulate

    from framer.scoring.match import Published
    from framer.scoring.match import match as run
    from framer.scoring.sources import users

    published = [Published.parse(text) for text in args.published]
    for number, matches in zip(published, run(args.sr, args.hr, published), strict=True):
        # A gap is of interest below the printed decimals as well.
        digits = max(4, len(number.text.partition(".")[2]) + 1)
        rows = [
            (
                one.definition.id,
                "n/a" if one.value is None else f"{one.value:.{digits}f}",
                "" if one.value is None else f"{one.gap:+.{digits}f}",
                "yes" if one.holds else "",
                ", ".join(users(one.definition.id)),
            )
            for one in matches
        ]
        columns = (f"{number.metric} {number.text}", "value", "gap", "rounds to it", "used by")
        print(tabulate(rows, columns, tablefmt="github", disable_numparse=True), end="\n\n")
        for reason in dict.fromkeys(one.unavailable for one in matches if one.unavailable):
            print(f"framer: n/a: {reason}", file=sys.stderr)


@command("list which definition of PSNR, SSIM, LPIPS and NIQE each paper or script uses, and how that is known")
def protocols(args: argparse.Namespace) -> None:
    from framer.scoring.sources import table

    print(table())


@command(
    "import a published log of per-image scores as a score file",
    arg("log", type=Path, metavar="FILE", help="OSEDiff's log, or a CSV: image,metric,value or a column per metric"),
    arg("--method", required=True, help="short name, such as osediff"),
    arg("--set", required=True, help="id of the test set, such as realsr-crop128"),
    arg("--protocol", required=True, help="the publisher's protocol"),
    arg("--label", required=True, help="name of the method in the tables"),
    arg("--source", required=True, help="origin of the file"),
    arg("--metrics", help="comma-separated: those to import (default: all)"),
    arg("--definition", action="append", default=[], metavar="METRIC=ID", help="another definition of a metric"),
    arg("--out", type=Path, metavar="DIR", help="folder of methods (default: results/published/scores)"),
)
def import_scores(args: argparse.Namespace) -> None:
    from framer.scoring.import_scores import import_scores as run
    from framer.scoring.score_file import METHODS

    for text in args.definition:
        if not all(text.partition("=")):
            raise UserError(f"{text!r} is not METRIC=ID", key="--definition")
    definitions: dict[str, str] = {}
    for name, _, other in (text.partition("=") for text in args.definition):
        if name in definitions:
            message = f"{name} is named twice, as {definitions[name]} and as {other}; name one"
            raise UserError(message, key="--definition", code="conflict")
        definitions[name] = other
    origin = {"label": args.label, "source": args.source}
    metrics = args.metrics.split(",") if args.metrics else None
    out = run(args.log, args.method, args.set, args.protocol, origin, metrics, definitions, args.out or METHODS)
    print(out)


@command(
    "check that this installation computes the right values",
    arg("--sr", type=Path, metavar="DIR", help="restored images with published scores"),
    arg("--hr", type=Path, metavar="DIR", help="their HR images"),
    arg("--log", type=Path, metavar="FILE", help="the published scores: OSEDiff's log or a CSV, protocol osediff"),
    arg("--cluster", action="store_true", help="instead: check this Slurm cluster's configuration for known problems"),
)
def doctor(args: argparse.Namespace) -> None:
    from framer.doctor import installation, slurm

    published = (args.sr, args.hr, args.log)
    if any(published) and not all(published):
        raise UserError("--sr, --hr and --log need each other: give all three or none", key="--log", code="conflict")
    wrong = 0
    here = slurm.examine(slurm.Cluster.here(), Path()) if args.cluster else None
    for finding in here or installation.examine(published if all(published) else None):
        print(finding)
        wrong += finding.wrong
    if wrong:
        advice = "correct that before you submit" if here else "do not trust scores of this installation"
        print(f"framer: {wrong} wrong; {advice}", file=sys.stderr)
        sys.exit(1)
