"""The command `framer init`."""

import argparse
import re
from pathlib import Path

from framer.commands.arguments import arg, command
from framer.errors import UserError


@command(
    "make a folder in which studies run, without a clone, and write a commented study into it",
    arg("name", metavar="NAME", help="of the new study: lowercase letters, digits, - and _"),
    arg("--folder", type=Path, default=Path(), metavar="DIR", help="empty or new (default: this one)"),
)
def init(args: argparse.Namespace) -> None:
    from framer.study.project import create

    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,99}", args.name):
        message = "use lowercase letters, digits, - and _, at most 100"
        raise UserError(message, key=f"NAME {args.name[:100]!r}", code="invalid")
    path = create(args.folder, args.name)
    inside = "" if args.folder == Path() else f"cd {args.folder} && "
    print(f"{path}\nRun it by: {inside}snakemake --cores all --config study={args.name}")
