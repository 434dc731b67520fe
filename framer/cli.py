"""The `framer` command line: the parser of all commands, and exit codes."""

import argparse
import logging
import os
import sys
from importlib.util import find_spec
from typing import NoReturn

from framer.commands import analyse, completion, data, init, models, rehearse, report, score, serve, signals
from framer.commands.arguments import COMMANDS, check_numbers
from framer.errors import TrainingInterrupted, UserError, printable

__all__ = [
    "COMMANDS",
    "analyse",
    "completion",
    "data",
    "init",
    "main",
    "models",
    "rehearse",
    "report",
    "score",
    "serve",
]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are the one line of any other command, without the usage of twenty."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see: {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="framer",
        description="Benchmark and reproducibility harness for FRAMER: every stage of a study as a command.",
        epilog="Run a whole study with: snakemake --cores all --config study=smoke",
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (handler, text, arguments) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for flags, options in arguments:
            sub.add_argument(*flags, **options)
        sub.set_defaults(handler=handler, parser=parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command. Exit code 0: done; 1: a failure; 2: something for the user to put right, in one line.

    Args:
        argv: the command and its arguments; None for those of this process, whose signals are the command's then.
    """
    if argv is None:
        signals.install()
    # It comes with pyiqa, is not used here, and warns of a kernel it does not find whenever diffusers is imported.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        if not find_spec("pydantic"):  # stands for all packages of the extra
            raise UserError(
                "commands need the extra 'harness'; in a clone, run: pip install '.[harness]'", code="missing"
            )
        args = build_parser().parse_args(argv)
        check_numbers()
        args.handler(args)
        sys.stdout.flush()  # not in the interpreter's last moments, where a reader that has gone is a failure
    except UserError as error:
        print(f"framer: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"framer: error: {printable(where)}{error.strerror or error}; look at the path and at the disk",
            file=sys.stderr,
        )
        return 1
    except TrainingInterrupted as interrupted:
        from framer.training.launch import is_first_rank

        if is_first_rank():  # all ranks stop
            print(f"framer: {interrupted}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("framer: interrupted", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
