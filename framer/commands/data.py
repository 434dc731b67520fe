"""Data sets and weights."""

import argparse
import sys
from pathlib import Path

from framer.arguments import arg, command
from framer.errors import UserError


@command(
    "get data sets and model weights; check and index them",
    arg("sets", nargs="*", metavar="SET", help="id of a manifest in the data folder"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"),
    arg("--weights", metavar="NAME", help="id of a manifest in weights/, or owner/name of a diffusers pipeline"),
    arg("--out", type=Path, metavar="DIR", help="folder for a pipeline (default: weights/OWNER--NAME)"),
    arg("--check", action="store_true", help="get nothing; say what is missing, with size and licence"),
)
def fetch(args: argparse.Namespace) -> None:
    from framer.data.fetch import fetch as fetch_set
    from framer.data.inventory import inventory
    from framer.data.manifest import Manifest
    from framer.data.weights import WeightsManifest, folder

    if args.check:
        lines, missing = inventory(args.datasets, args.sets, [args.weights] if args.weights else [])
        print("\n".join(lines))
        sys.exit(1 if missing else 0)
    if not args.sets and not args.weights:
        raise UserError("fetch: name a set or --weights NAME; --check lists them")
    for manifest in [Manifest.load(name, args.datasets) for name in args.sets]:
        fetch_set(manifest, args.datasets)
    if args.weights:
        from framer.data.fetch_weights import fetch_weights

        fetch_weights(WeightsManifest.load(args.weights), folder(), args.out)


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
    "make a paired set by degrading photographs, as its manifest says",
    arg("set", metavar="SET", help="id of a manifest whose source is 'degraded'"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"),
)
def degrade(args: argparse.Namespace) -> None:
    from framer.data.degrade import degrade_set
    from framer.data.manifest import Manifest

    degrade_set(Manifest.load(args.set, args.datasets), args.datasets)
