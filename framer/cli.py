"""The `framer` command line. Each command is one function: parse, import what it needs, call it.

Nothing heavy is imported before a command runs, so that `framer --help` is instant. What a function imports and what
its decorator says is what `framer.fingerprint` sees of a command.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framer.errors import Stopped, UserError

if TYPE_CHECKING:
    from framer.engine.session import Session
    from framer.study import Job, Study

Handler = Callable[[argparse.Namespace], None]
Argument = tuple[tuple[str, ...], dict[str, Any]]
COMMANDS: dict[str, tuple[Handler, str, tuple[Argument, ...]]] = {}


def arg(*flags: str, **options: Any) -> Argument:
    """One argument of a command, as `ArgumentParser.add_argument` takes it."""
    return flags, options


def command(text: str, *arguments: Argument) -> Callable[[Handler], Handler]:
    """Register a function as the command of its name."""

    def register(function: Handler) -> Handler:
        COMMANDS[function.__name__.replace("_", "-")] = (function, text, arguments)
        return function

    return register


@command(
    "get data sets, or the weights of a published base; check and index them",
    arg("sets", nargs="*", metavar="SET", help="id of a manifest in the data folder"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"),
    arg("--weights", metavar="REPO", help="a diffusers pipeline on the Hugging Face hub, as owner/name"),
    arg("--out", type=Path, metavar="DIR", help="folder for the weights (default: weights/OWNER--NAME)"),
)
def fetch(args: argparse.Namespace) -> None:
    from framer.data.fetch import fetch as fetch_set
    from framer.data.manifest import Manifest
    from framer.data.weights import fetch_base

    if not args.sets and not args.weights:
        raise UserError("fetch: name a set or --weights REPO")
    for manifest in [Manifest.load(name, args.datasets) for name in args.sets]:
        fetch_set(manifest, args.datasets)
    if args.weights:
        fetch_base(args.weights, args.out or Path("weights") / args.weights.replace("/", "--"))


@command(
    "make a paired set by degrading photographs, as its manifest says",
    arg("set", metavar="SET", help="id of a manifest whose source is 'degraded'"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"),
)
def degrade(args: argparse.Namespace) -> None:
    from framer.data.degrade import degrade_set
    from framer.data.manifest import Manifest

    degrade_set(Manifest.load(args.set, args.datasets), args.datasets)


# What says how a training is carried out, and changes nothing in what it gives.
SESSION = (
    arg(
        "--resume",
        choices=["latest", "previous", "none"],
        default="latest",
        help="an interrupted training: go on from its latest checkpoint (default), the one before it, or start anew",
    ),
    arg(
        "--minutes", type=float, metavar="M", help="stop in good time before M minutes are over; Slurm's limit is known"
    ),
    arg("--checkpoint-every", type=float, default=600, metavar="S", help="seconds between checkpoints (default: 600)"),
    arg("--tracking", type=Path, metavar="DIR", help="folder of TensorBoard (default: logs/STUDY/tracking)"),
    arg("--gpus", type=int, default=1, metavar="N", help="processes a node, one a GPU, by torchrun (default: 1)"),
    arg("--nodes", type=int, default=1, metavar="N", help="nodes of the Slurm job (default: 1)"),
)


@command(
    "train a tiny base from random weights",
    arg("--study", type=Path, required=True, help="study file, such as config/smoke.yaml"),
    arg("--base", required=True, help="the backbone's name"),
    arg("--out", type=Path, required=True, help="folder of the base"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of the data (default: datasets)"),
    arg("--expect", help="digest of the settings that were planned; refuse others"),
    *SESSION,
)
def pretrain(args: argparse.Namespace) -> None:
    from framer.study import Study

    study = Study.load(args.study, args.datasets)
    job = study.pretrain_job(args.base)
    planned(args, job)
    spread(args)

    from framer.engine.pretrain import pretrain as run

    data, heldout = study.training_folders(job, args.datasets), study.heldout_folder(args.datasets)
    run(job, data, args.out, heldout, session(args, study))


@command(
    "train one run of a study: LoRA or control weights, with or without the FRAMER loss",
    arg("--study", type=Path, required=True, help="study file, such as config/smoke.yaml"),
    arg("--run", required=True, help="arm and seed, such as pisa_sr-framer-s0"),
    arg("--base", type=Path, required=True, help="folder of the base that it starts from"),
    arg("--out", type=Path, required=True, help="folder of the run"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of the data (default: datasets)"),
    arg("--encoded", type=Path, help="folder of framer encode (default: encode on the fly)"),
    arg("--expect", help="digest of the settings that were planned; refuse others"),
    *SESSION,
)
def train(args: argparse.Namespace) -> None:
    from framer.study import Study

    study = Study.load(args.study, args.datasets)
    job = study.train_job(args.run)
    planned(args, job)
    spread(args)

    from framer.engine.train import train as run

    data, heldout = study.training_folders(job, args.datasets), study.heldout_folder(args.datasets)
    run(job, args.base, data, args.out, heldout, session(args, study), encoded=args.encoded)


@command(
    "make a run of published weights, or files for other programs of a run",
    arg("source", type=Path, metavar="PATH", help="the folder of a run, or a file of published weights"),
    arg("--backbone", required=True, help="whose weights they are"),
    arg("--to", required=True, help="run; of dit4sr also: delta; of pisa_sr: official, safetensors, diffusers, peft"),
    arg("--base", type=Path, metavar="DIR", help="folder of the base, for a run"),
    arg("--out", type=Path, required=True, metavar="PATH", help="folder, or file where the form is one"),
)
def convert(args: argparse.Namespace) -> None:
    from framer.engine.convert import convert as run

    run(args.source, args.backbone, args.to, args.out, base=args.base)


@command(
    "caption a folder of images with a vision-language model",
    arg("--images", type=Path, required=True, metavar="DIR", help="folder of images"),
    arg("--out", type=Path, required=True, metavar="FILE.csv", help="image,caption rows; sidecar FILE.json"),
    arg("--model", metavar="PATH", help="folder, or owner/name on the hub (default: LLaVA-1.5 13B)"),
    arg("--question", help="what the model is asked; '' for models that take an image alone (default: the objects)"),
    arg("--tokens", type=int, default=512, help="longest caption (default: 512)"),
    arg("--seed", type=int, default=0, help="seed of the sampling (default: 0)"),
    arg("--threads", type=int, default=1, help="CPU threads (default: 1)"),
)
def caption(args: argparse.Namespace) -> None:
    from framer.engine.caption import MODEL, QUESTION
    from framer.engine.caption import caption as run

    question = QUESTION if args.question is None else args.question
    options = {"tokens": args.tokens, "seed": args.seed, "threads": args.threads}
    run(args.images, args.out, model=args.model or MODEL, question=question, **options)


@command(
    "encode the training pairs and prompts of a study once, before training",
    arg("--study", type=Path, required=True, help="study file, such as config/paper.yaml"),
    arg("--backbone", required=True, help="a backbone of the study whose data has 'encode'"),
    arg("--base", type=Path, required=True, help="folder of its base"),
    arg("--out", type=Path, required=True, help="folder of the cache"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of the data (default: datasets)"),
    arg("--expect", help="digest of the settings that were planned; refuse others"),
)
def encode(args: argparse.Namespace) -> None:
    from framer.study import Study

    study = Study.load(args.study, args.datasets)
    job = study.encode_job(args.backbone)
    planned(args, job)

    from framer.engine.encode import encode as run

    run(job, args.base, study.training_folders(job, args.datasets), args.out)


@command(
    "restore a folder of LR images to x4",
    arg("--checkpoint", required=True, metavar="PATH", help="folder of a run, or 'bicubic'"),
    arg("--lr", type=Path, required=True, metavar="DIR", help="folder of LR images"),
    arg("--out", type=Path, required=True, metavar="DIR", help="folder for the restored PNGs, their index and card"),
    arg(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a restore setting of the backbone, such as steps=20",
    ),
    arg(
        "--captions", type=Path, metavar="PATH", help="CSV image,caption, or a folder of STEM.txt (default: no prompts)"
    ),
    arg("--missing", choices=["error", "empty"], default="error", help="an image without a caption (default: error)"),
    arg("--seed", type=int, default=0, help="seed of the starting noise (default: 0)"),
    arg("--threads", type=int, default=1, help="CPU threads (default: 1)"),
    arg("--blank-lr", action="store_true", help="control: let the network see a zero LR latent"),
)
def restore(args: argparse.Namespace) -> None:
    from framer.engine.restore import restore as run

    checkpoint = args.checkpoint if args.checkpoint == "bicubic" else Path(args.checkpoint)
    settings = key_values("--set", args.set)
    prompts = {"captions": args.captions, "missing": args.missing}
    options = {"blank_lr": args.blank_lr, "seed": args.seed, "threads": args.threads}
    run(checkpoint, args.lr, args.out, settings=settings, **prompts, **options)


@command(
    "score restored images under a named protocol",
    arg("--sr", type=Path, required=True, nargs="+", metavar="DIR", help="folders of restored images"),
    arg("--hr", nargs="+", default=["-"], metavar="DIR", help="HR images: one folder for all or one each, - for none"),
    arg("--metrics", required=True, help="comma-separated: psnr,ssim,lpips,niqe,maniqa,musiq,dists,clipiqa,liqe,fid"),
    arg("--protocol", required=True, help="what the names mean: osediff, seesr, framer, or a file of your own, .yaml"),
    arg(
        "--out", type=Path, required=True, nargs="+", metavar="FILE.csv", help="one a folder; its sidecar is FILE.json"
    ),
    arg("--threads", type=int, help="CPU cores, which change no value (default: those at hand, at most 8)"),
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
    threads = min(8, len(os.sched_getaffinity(0))) if args.threads is None else args.threads
    done = run(tasks, args.metrics.split(","), args.protocol, threads, origin)
    for reason in dict.fromkeys(reason for summary in done for reason in summary.unavailable.values()):
        print(f"framer: n/a: {reason}", file=sys.stderr)
    for summary in done:
        means = "  ".join(f"{name} {value:.4f}" for name, value in summary.means.items())
        print(f"{summary.out}: {means or 'no metric could be computed'}")


@command(
    "get the weights of a protocol's metrics, for scoring on machines without a network too",
    arg("--protocol", required=True, help="osediff, seesr, framer, or a file of your own, .yaml"),
    arg("--metrics", help="comma-separated (default: all of the protocol)"),
)
def weights(args: argparse.Namespace) -> None:
    from framer.scoring.download import fetch as fetch_weights
    from framer.scoring.protocols import Protocol

    protocol = Protocol.named(args.protocol)
    metrics = protocol.select(args.metrics.split(",")) if args.metrics else list(protocol.metrics)
    for name, sha256 in fetch_weights(metrics).items():
        print(f"{sha256}  {name}")


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
    from framer.scoring.published import import_scores as run
    from framer.scoring.scorefile import METHODS

    definitions = dict(text.partition("=")[::2] for text in args.definition)
    origin = {"label": args.label, "source": args.source}
    metrics = args.metrics.split(",") if args.metrics else None
    out = run(args.log, args.method, args.set, args.protocol, origin, metrics, definitions, args.out or METHODS)
    print(out)


@command(
    "test that what is installed computes what it should",
    arg("--sr", type=Path, metavar="DIR", help="restored images with published scores"),
    arg("--hr", type=Path, metavar="DIR", help="their HR images"),
    arg("--log", type=Path, metavar="FILE", help="the published scores: OSEDiff's log or a CSV, protocol osediff"),
)
def doctor(args: argparse.Namespace) -> None:
    from framer.doctor import examine

    published = (args.sr, args.hr, args.log)
    if any(published) and not all(published):
        raise UserError("doctor: --sr, --hr and --log go together")
    wrong = 0
    for finding in examine(published if all(published) else None):
        print(finding)
        wrong += finding.wrong
    if wrong:
        print(f"framer: {wrong} wrong; do not trust scores of this installation", file=sys.stderr)
        sys.exit(1)


@command(
    "render a study's tables from its scores",
    arg("--study", type=Path, required=True, help="study file, such as config/smoke.yaml"),
    arg("--out", type=Path, required=True, metavar="DIR", help="folder for the tables"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of the manifests (default: datasets)"),
    arg("--absent", nargs="*", default=[], metavar="SET", help="sets that are not on this machine: n/a"),
)
def tables(args: argparse.Namespace) -> None:
    one_thread()
    from framer.data.fetch import how_to_get
    from framer.report.tables import render
    from framer.study import Study

    study = Study.load(args.study, args.datasets)
    absent = {name: how_to_get(study.manifests[name], args.datasets) for name in args.absent}
    render(study, args.out, absent=absent, datasets=args.datasets)


@command(
    "draw a study's figures as PDF and PNG",
    arg("--study", type=Path, required=True, help="study file, such as config/smoke.yaml"),
    arg("--out", type=Path, required=True, metavar="DIR", help="folder for the figures"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"),
    arg("--absent", nargs="*", default=[], metavar="SET", help="sets that are not on this machine"),
)
def figures(args: argparse.Namespace) -> None:
    one_thread()
    from framer.data.fetch import how_to_get
    from framer.report.figures import render
    from framer.study import Study

    study = Study.load(args.study, args.datasets)
    absent = {name: how_to_get(study.manifests[name], args.datasets) for name in args.absent}
    render(study, args.out, absent=absent, datasets=args.datasets)


@command(
    "render a study's report, one HTML file that needs no network",
    arg("--study", type=Path, required=True, help="study file, such as config/smoke.yaml"),
    arg("--out", type=Path, required=True, metavar="FILE.html", help="where the report goes"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"),
    arg("--absent", nargs="*", default=[], metavar="SET", help="sets that are not on this machine: n/a"),
)
def report(args: argparse.Namespace) -> None:
    one_thread()
    from framer.data.fetch import how_to_get
    from framer.report.html import render
    from framer.study import Study

    study = Study.load(args.study, args.datasets)
    absent = {name: how_to_get(study.manifests[name], args.datasets) for name in args.absent}
    render(study, args.out, datasets=args.datasets, absent=absent)


@command(
    "show where a cell of the tables comes from, down to hashes of images and weights",
    arg("cell", metavar="CELL", help="its id, or ARM/SET/PROTOCOL/METRIC"),
    arg("--study", type=Path, required=True, help="study file, such as config/smoke.yaml"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"),
)
def why(args: argparse.Namespace) -> None:
    one_thread()
    from framer.report.cells import find
    from framer.report.lineage import lines
    from framer.study import Study

    cell = find(Study.load(args.study, args.datasets), args.cell, args.datasets)
    print(f"{cell.id}  {cell.arm}/{cell.set}/{cell.protocol}/{cell.metric.name}  {cell.text}")
    print("\n".join(lines(cell.tree, 1)))


@command(
    "show what differs between two cells: images, weights, settings, versions",
    arg("cells", nargs=2, metavar="CELL", help="an id, or ARM/SET/PROTOCOL/METRIC"),
    arg("--study", type=Path, required=True, nargs="+", help="study file; a second one for the second cell"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"),
)
def diff(args: argparse.Namespace) -> None:
    one_thread()
    from framer.report.cells import find
    from framer.report.lineage import differences
    from framer.study import Study

    if len(args.study) > 2:
        raise UserError("diff: --study takes one study file, or one for each cell")
    studies = [Study.load(path, args.datasets) for path in (args.study[0], args.study[-1])]
    one, other = (find(study, name, args.datasets) for study, name in zip(studies, args.cells, strict=True))
    print(f"{one.id}  {one.arm}/{one.set}/{one.protocol}/{one.metric.name}  {one.text}")
    print(f"{other.id}  {other.arm}/{other.set}/{other.protocol}/{other.metric.name}  {other.text}")
    for key, value, other_value in differences(one.tree, other.tree):
        print(f"  {key}\n    {value}\n    {other_value}")


def one_thread() -> None:
    """For a command of many small products: threads would cost more than they give, and would order their sums."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def key_values(flag: str, given: list[str]) -> dict[str, Any]:
    """KEY=VALUE arguments, each value read as YAML."""
    import yaml

    pairs = {}
    for text in given:
        key, equals, value = text.partition("=")
        try:
            pairs[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals or not key:
            raise UserError(f"{flag} {text}: write {flag} KEY=VALUE")
    return pairs


def planned(args: argparse.Namespace, job: "Job") -> None:
    """Refuse settings that the workflow did not plan: an edited study file must not slip into a queued job."""
    if args.expect and args.expect != job.digest:
        raise UserError(f"{args.study}: it changed after this job was planned; run snakemake again")


def spread(args: argparse.Namespace) -> None:
    """Start this very command again by torchrun, one process a GPU, unless that has been done or one is enough."""
    from framer.launch import relaunch

    relaunch(args.gpus, args.nodes)


def session(args: argparse.Namespace, study: "Study") -> "Session":
    """How the command line says that a training is carried out."""
    from framer.engine.session import Session

    return Session(
        resume=args.resume,
        every=args.checkpoint_every,
        minutes=args.minutes,
        trackers=tuple(study.config.trackers),
        tracking=args.tracking or Path("logs") / study.name / "tracking",
    )


def _terminate(*_: object) -> None:
    """A cancelled or preempted job gets SIGTERM: unwind, so that no temporary file stays behind."""
    print("framer: terminated", file=sys.stderr)
    sys.exit(1)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="framer",
        description="Benchmark and reproducibility harness for FRAMER: every stage of a study as a command.",
        epilog="Run a whole study with: snakemake --cores all --config study=smoke",
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (handler, text, arguments) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for flags, options in arguments:
            sub.add_argument(*flags, **options)
        sub.set_defaults(handler=handler)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit code 0: done; 1: a failure; 2: something for the user to put right, in one line."""
    args = build_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _terminate)
    # It comes with pyiqa, is not used here, and warns of a kernel it does not find whenever diffusers is imported.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        args.handler(args)
    except UserError as error:
        print(f"framer: error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"framer: {stopped}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("framer: interrupted", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
