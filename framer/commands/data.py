"""Data sets and weights."""

import argparse
import sys
from pathlib import Path

from framer.commands.arguments import DATASETS, arg, command
from framer.errors import UserError


@command(
    "fetch data sets and model weights; check and index them",
    arg("sets", nargs="*", metavar="SET", help="id of a manifest in the data folder"),
    DATASETS,
    arg(
        "--weights",
        action="append",
        default=[],
        metavar="NAME",
        help="id of a manifest in weights/, or owner/name on the hub; can be repeated",
    ),
    arg(
        "--protocol", help="weights of the metrics of a protocol: osediff, seesr, framer, or a file of your own, .yaml"
    ),
    arg("--metrics", help="with --protocol: of these metrics only, comma-separated (default: all of the protocol)"),
    arg("--out", type=Path, metavar="DIR", help="folder for a pipeline (default: weights/OWNER--NAME)"),
    arg("--accept-hash", action="store_true", help="with --weights: trust the file's hash where none is published"),
    arg(
        "--failures",
        type=Path,
        metavar="FILE.json",
        help="weights that the network does not provide are no error: write their names and the reasons to this file",
    ),
    arg("--check", action="store_true", help="fetch nothing; list what is missing, with size and license"),
)
def fetch(args: argparse.Namespace) -> None:
    from framer.dag.inventory import inventory
    from framer.data.fetch import fetch as fetch_set
    from framer.data.manifest import Manifest
    from framer.weights.manifest import WeightsManifest
    from framer.weights.store import folder

    weights = [*args.weights]
    if args.protocol:
        from framer.scoring.protocols import Protocol

        protocol = Protocol.named(args.protocol)
        metrics = protocol.select(args.metrics.split(",")) if args.metrics else protocol.metrics
        weights += sorted({name for metric in metrics for name in metric.weights})
    if args.check:
        lines, missing = inventory(args.datasets, args.sets, weights)
        print("\n".join(lines))
        sys.exit(1 if missing else 0)
    if args.failures and (args.out or not weights):
        raise UserError("goes with --weights or --protocol, and not with --out", key="--failures", code="conflict")
    if not args.sets and not weights:
        raise UserError("name a set, --weights NAME or --protocol NAME; --check lists all", key="fetch", code="missing")
    for one in [Manifest.load(name, args.datasets) for name in args.sets]:
        fetch_set(one, args.datasets)
    if weights:
        from framer.weights.fetch import fetch_available, fetch_weights

        manifests = [WeightsManifest.load(name) for name in weights]
        if args.failures:
            fetch_available(manifests, folder(), args.failures)
        else:
            for manifest in manifests:
                fetch_weights(manifest, folder(), args.out, accept_hash=args.accept_hash)


@command(
    "make a paired set by degrading photographs, as its manifest describes",
    arg("set", metavar="SET", help="id of a manifest whose source is 'degraded'"),
    DATASETS,
)
def degrade(args: argparse.Namespace) -> None:
    from framer.data.degradation.dataset import degrade_set
    from framer.data.manifest import Manifest

    degrade_set(Manifest.load(args.set, args.datasets), args.datasets)


@command(
    "clone the repository of another method at the commit of its manifest",
    arg("name", metavar="NAME", help="id of a manifest in methods/"),
)
def fetch_method(args: argparse.Namespace) -> None:
    from framer.external.made import clone
    from framer.external.manifest import MethodManifest

    clone(MethodManifest.load(args.name))


@command(
    "make the environment of another method, as its manifest describes it",
    arg("name", metavar="NAME", help="id of a manifest in methods/, whose repository is cloned"),
)
def build_method(args: argparse.Namespace) -> None:
    from framer.external.made import build
    from framer.external.manifest import MethodManifest

    build(MethodManifest.load(args.name))


@command(
    "restore a folder of LR images with another method's own code, in its environment",
    arg("name", metavar="NAME", help="id of a manifest in methods/, whose environment is made"),
    arg("--lr", type=Path, required=True, metavar="DIR", help="folder of LR images"),
    arg("--out", type=Path, required=True, metavar="DIR", help="folder for the PNGs, their index and card"),
    arg("--seed", type=int, default=0, help="seed for its command, modulo 2**31 (default: 0)"),
)
def run_method(args: argparse.Namespace) -> None:
    from framer.inference.method import run_method as run

    run(args.name, args.lr, args.out, seed=args.seed)


@command(
    "import the images of another method, to score them like all others",
    arg("--images", type=Path, required=True, metavar="DIR", help="its restored images, named as the LR images"),
    arg("--lr", type=Path, required=True, metavar="DIR", help="folder of the LR images"),
    arg("--out", type=Path, required=True, metavar="DIR", help="folder for the PNGs, their index and card"),
    arg("--source", help="for the card: repository, weights and settings that they were made with"),
)
def import_images(args: argparse.Namespace) -> None:
    from framer.inference.import_images import adopt

    adopt(args.images, args.lr, args.out, source=args.source)
