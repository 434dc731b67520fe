"""The command `framer serve`."""

import argparse

from framer.commands.arguments import RIVALS, STUDY, arg, command, one_thread


@command(
    "watch a running study in a browser: jobs, failures, loss curves, the table so far; nothing is written",
    STUDY,
    arg("--port", type=int, default=8000, metavar="N", help="0 for a free one (default: 8000)"),
    arg("--host", metavar="NAME", help="listen there and require a token (default: this machine alone, without)"),
    RIVALS,
)
def serve(args: argparse.Namespace) -> None:
    one_thread()
    from framer.dag.missing import find_missing
    from framer.dag.scope import Scope
    from framer.serve import server
    from framer.serve.watch import Watch
    from framer.study.layout import DATASETS
    from framer.study.study import Study

    study = Study.load(args.study, DATASETS, rivals=args.rivals)
    server.serve(Watch(Scope(study, find_missing(study, DATASETS), args.rivals)), args.host, args.port)
