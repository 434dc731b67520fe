"""How a command is declared, and the arguments that commands have in common."""

import argparse
import json
import os
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framer.errors import UserError

if TYPE_CHECKING:
    from framer.backbones.settings import FreeU
    from framer.study.study import Study
    from framer.training.options import Session

Argument = tuple[tuple[str, ...], dict[str, Any]]
Handler = Callable[[argparse.Namespace], None]
COMMANDS: dict[str, tuple[Handler, str, tuple[Argument, ...]]] = {}
"""By name: the function of a command, its description and its arguments."""

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


def study_path(text: str) -> Path:
    """The study file that `--study` names: by its path, or by its name alone, as `--config study=NAME` does."""
    path = Path(text)
    return path if path.suffix or len(path.parts) > 1 else Path("config", f"{text}.yaml")


class Renamed(argparse.Action):
    """An option of an earlier version, refused with its new name, which is `const`."""

    def __call__(self, parser: argparse.ArgumentParser, *given: object) -> None:
        raise UserError(f"is now named {self.const}; use that", key=self.option_strings[0], code="unknown")


STUDY = arg("--study", type=study_path, required=True, help="study file, such as config/smoke.yaml, or its name")
DATASETS = arg(
    "--datasets", type=Path, default=Path("datasets"), help="folder of manifests and data (default: datasets)"
)
RIVALS = arg("--rivals", action="store_true", help="with the arms of the study's optional part")
EXPECT = arg("--expect", help="digest of the planned settings; refuse others")

# How a training is executed; none of these changes its result.
SESSION = (
    arg(
        "--resume",
        choices=["latest", "previous", "none"],
        default="latest",
        help="resume from the latest checkpoint (default) or the one before it, or start anew, even a finished run",
    ),
    arg(
        "--minutes",
        type=float,
        metavar="M",
        help="save a checkpoint and exit before M minutes are over; Slurm's limit is read",
    ),
    arg("--checkpoint-every", type=float, default=600, metavar="S", help="seconds between checkpoints (default: 600)"),
    arg("--tracking", type=Path, metavar="DIR", help="folder of TensorBoard (default: logs/STUDY/tracking)"),
    arg("--gpus", type=int, default=1, metavar="N", help="number of processes, one per GPU, by torchrun (default: 1)"),
    arg("--nodes", type=int, default=1, metavar="N", help="nodes of the Slurm job (default: 1)"),
)


def study_of(args: argparse.Namespace) -> "Study":
    """The study that `--study` names, with the data sets of `--datasets`.

    A command without `--rivals` is about one run or cell, and finds those of the study's optional part, too.
    """
    from framer.study.study import Study

    return Study.load(args.study, args.datasets, rivals=getattr(args, "rivals", None))


def key_values(flag: str, given: list[str]) -> dict[str, Any]:
    """KEY=VALUE arguments, each value read as in a study file."""
    from yaml import YAMLError

    from framer.config_file import parse_yaml

    pairs = {}
    for text in given:
        key, equals, value = text.partition("=")
        try:
            pairs[key] = parse_yaml(value)
        except YAMLError:
            equals = ""
        if not equals or not key:
            raise UserError(f"{reprlib.repr(text)} is not KEY=VALUE; write {flag} KEY=VALUE", key=flag)
    return pairs


def json_object(flag: str, given: str) -> dict[str, Any]:
    """A JSON object argument, which keeps every value as it was written: how the workflow passes settings on."""
    try:
        value = json.loads(given)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{reprlib.repr(given)} is not a JSON object", key=flag)
    return value


def freeu(flag: str, given: str) -> "FreeU":
    """Four factors as S1,S2,B1,B2.

    Raises:
        UserError: there are not four, or one is no positive number.
    """
    from framer.backbones.settings import FreeU

    try:
        values = [float(part) for part in given.split(",")]
        return FreeU(**dict(zip(FreeU.model_fields, values, strict=True)))
    except ValueError:
        message = f"{reprlib.repr(given)} is not S1,S2,B1,B2, four positive numbers; such as 0.9,0.2,1.4,1.6"
        raise UserError(message, key=flag) from None


def threads(text: str) -> int:
    """The value of --threads: 1 to 1024.

    Raises:
        UserError: it is no such number.
    """
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 4 and 1 <= int(text) <= MOST_THREADS):
        raise UserError(f"at least 1 is needed, a whole number of at most {MOST_THREADS}", key=f"--threads {text}")
    return int(text)


def planned(args: argparse.Namespace, digest: str) -> None:
    """Refuse settings other than the planned ones: an edited study file must not change a queued job."""
    if args.expect and args.expect != digest:
        raise UserError("changed after this job was planned; run snakemake again", path=args.study, code="changed")


def spread(args: argparse.Namespace) -> None:
    """Start this command again by torchrun, one process per GPU, unless that has been done or one suffices."""
    from framer.training.launch import relaunch

    relaunch(args.gpus, args.nodes)


def session(args: argparse.Namespace, study: "Study") -> "Session":
    """The execution options of a training on the command line."""
    from framer.training.options import Session

    return Session(
        resume=args.resume,
        every=args.checkpoint_every,
        minutes=args.minutes,
        trackers=tuple(study.config.trackers),
        tracking=args.tracking or study.paths.tracking,
        study=args.study,
    )


_NUMBERS = {
    int: ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT", "TQDM_NCOLS", "TQDM_NROWS", "TQDM_POSITION"),
    float: ("TQDM_DELAY", "TQDM_INITIAL", "TQDM_MAXINTERVAL", "TQDM_MININTERVAL", "TQDM_MINITERS", "TQDM_SMOOTHING"),
}
"""Variables of the environment that libraries convert when they are imported, and to what."""


def check_numbers() -> None:
    """Refuse variables of the environment with which the libraries of a command cannot be imported.

    Raises:
        UserError: one of them is not a number.
    """
    for kind, names in _NUMBERS.items():
        for name in names:
            try:
                kind(os.environ.get(name, "0"))
            except ValueError:
                text = reprlib.repr(os.environ[name])
                what = "a whole number" if kind is int else "a number"
                raise UserError(f"{text} in the environment is not {what}; correct or unset it", key=name) from None


def one_thread() -> None:
    """One thread for a command of many small products: more would be slower, and change the order of sums."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
