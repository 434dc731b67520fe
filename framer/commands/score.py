"""Scores of images, and whether they can be trusted."""

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
    arg("--protocol", required=True, help="what the names mean: osediff, seesr, framer, or a file of your own, .yaml"),
    arg(
        "--out", type=Path, required=True, nargs="+", metavar="FILE.csv", help="one a folder; its sidecar is FILE.json"
    ),
    arg("--threads", type=threads, help="CPU cores, which change no value (default: those at hand, at most 8)"),
    arg("--label", help="name of a method in the tables, for images that are not of a study; goes with --source"),
    arg("--source", help="where its images are from"),
)
def score(args: argparse.Namespace) -> None:
    import os

    from framer.scoring.score import Task
    from framer.scoring.score import score as run

    hr = args.hr * len(args.sr) if len(args.hr) == 1 else args.hr
    if not len(args.sr) == len(hr) == len(args.out):
        raise UserError(f"score: {len(args.sr)} folders of --sr need as many --out, and one --hr or as many")
    if (args.label is None) != (args.source is None):
        raise UserError("score: --label and --source go together")
    origin = {"label": args.label, "source": args.source} if args.label else None
    tasks = [
        Task(sr, None if name == "-" else Path(name), out) for sr, name, out in zip(args.sr, hr, args.out, strict=True)
    ]
    cores = min(8, len(os.sched_getaffinity(0))) if args.threads is None else args.threads
    done = run(tasks, args.metrics.split(","), args.protocol, cores, origin)
    for reason in dict.fromkeys(reason for summary in done for reason in summary.unavailable.values()):
        print(f"framer: n/a: {reason}", file=sys.stderr)
    for summary in done:
        means = "  ".join(f"{name} {value:.4f}" for name, value in summary.means.items())
        print(f"{summary.out}: {means or 'no metric could be computed'}")


@command(
    "make a score file of a published log of per-image scores",
    arg("log", type=Path, metavar="FILE", help="OSEDiff's log, or a CSV: image,metric,value or a column a metric"),
    arg("--method", required=True, help="short name, such as osediff"),
    arg("--set", required=True, help="id of the test set, such as realsr-crop128"),
    arg("--protocol", required=True, help="under which its publisher scored"),
    arg("--label", required=True, help="name of the method in the tables"),
    arg("--source", required=True, help="where the file is from"),
    arg("--metrics", help="comma-separated: those to take (default: all)"),
    arg("--definition", action="append", default=[], metavar="METRIC=ID", help="a metric that was computed otherwise"),
    arg("--out", type=Path, metavar="DIR", help="folder of methods (default: results/published/scores)"),
)
def import_scores(args: argparse.Namespace) -> None:
    from framer.scoring.import_scores import import_scores as run
    from framer.scoring.score_file import METHODS

    for text in args.definition:
        if not all(text.partition("=")):
            raise UserError(f"--definition {text}: write METRIC=ID")
    definitions: dict[str, str] = {}
    for name, _, other in (text.partition("=") for text in args.definition):
        if name in definitions:
            raise UserError(f"--definition {name}: named twice, as {definitions[name]} and as {other}; name one")
        definitions[name] = other
    origin = {"label": args.label, "source": args.source}
    metrics = args.metrics.split(",") if args.metrics else None
    out = run(args.log, args.method, args.set, args.protocol, origin, metrics, definitions, args.out or METHODS)
    print(out)


@command(
    "test that what is installed computes what it should",
    arg("--sr", type=Path, metavar="DIR", help="restored images with published scores"),
    arg("--hr", type=Path, metavar="DIR", help="their HR images"),
    arg("--log", type=Path, metavar="FILE", help="the published scores: OSEDiff's log or a CSV, protocol osediff"),
    arg("--cluster", action="store_true", help="instead: what of this Slurm cluster would trip the workflow up"),
)
def doctor(args: argparse.Namespace) -> None:
    from framer.doctor import installation, slurm

    published = (args.sr, args.hr, args.log)
    if any(published) and not all(published):
        raise UserError("doctor: --sr, --hr and --log go together")
    wrong = 0
    here = slurm.examine(slurm.Cluster.here(), Path()) if args.cluster else None
    for finding in here or installation.examine(published if all(published) else None):
        print(finding)
        wrong += finding.wrong
    if wrong:
        advice = "put that right before you submit" if here else "do not trust scores of this installation"
        print(f"framer: {wrong} wrong; {advice}", file=sys.stderr)
        sys.exit(1)
