"""How a command is declared, and the arguments that commands have in common."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framer.errors import UserError

if TYPE_CHECKING:
    from framer.study.jobs import Job
    from framer.study.study import Study
    from framer.training.options import Session

Argument = tuple[tuple[str, ...], dict[str, Any]]
Handler = Callable[[argparse.Namespace], None]
COMMANDS: dict[str, tuple[Handler, str, tuple[Argument, ...]]] = {}
"""By name: what a command does, in code and in words, and its arguments."""

MOST_THREADS = 1024
"""More than any machine has; tens of thousands stall one."""


def command(text: str, *arguments: Argument) -> Callable[[Handler], Handler]:
    """Register a function as the command of its name."""

    def register(function: Handler) -> Handler:
        COMMANDS[function.__name__.replace("_", "-")] = (function, text, arguments)
        return function

    return register


def arg(*flags: str, **options: Any) -> Argument:
    """One argument of a command, as `ArgumentParser.add_argument` takes it."""
    return flags, options


# What says how a training is carried out, and changes nothing in what it gives.
SESSION = (
    arg(
        "--resume",
        choices=["latest", "previous", "none"],
        default="latest",
        help="go on from the latest checkpoint (default) or the one before it, or start anew, even what is finished",
    ),
    arg(
        "--minutes", type=float, metavar="M", help="stop in good time before M minutes are over; Slurm's limit is known"
    ),
    arg("--checkpoint-every", type=float, default=600, metavar="S", help="seconds between checkpoints (default: 600)"),
    arg("--tracking", type=Path, metavar="DIR", help="folder of TensorBoard (default: logs/STUDY/tracking)"),
    arg("--gpus", type=int, default=1, metavar="N", help="processes in all, one a GPU, by torchrun (default: 1)"),
    arg("--nodes", type=int, default=1, metavar="N", help="nodes of the Slurm job (default: 1)"),
)


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


def threads(text: str) -> int:
    """The value of --threads: 1 to 1024.

    Raises:
        UserError: it is no such number.
    """
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 4 and 1 <= int(text) <= MOST_THREADS):
        raise UserError(f"at least 1 is needed, a whole number of at most {MOST_THREADS}", key=f"--threads {text}")
    return int(text)


def planned(args: argparse.Namespace, job: "Job") -> None:
    """Refuse settings that the workflow did not plan: an edited study file must not slip into a queued job."""
    if args.expect and args.expect != job.digest:
        raise UserError(f"{args.study}: it changed after this job was planned; run snakemake again")


def spread(args: argparse.Namespace) -> None:
    """Start this very command again by torchrun, one process a GPU, unless that has been done or one is enough."""
    from framer.training.launch import relaunch

    relaunch(args.gpus, args.nodes)


def session(args: argparse.Namespace, study: "Study") -> "Session":
    """How the command line says that a training is carried out."""
    from framer.training.options import Session

    return Session(
        resume=args.resume,
        every=args.checkpoint_every,
        minutes=args.minutes,
        trackers=tuple(study.config.trackers),
        tracking=args.tracking or study.paths.tracking,
    )


def one_thread() -> None:
    """For a command of many small products: threads would cost more than they give, and would order their sums."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
