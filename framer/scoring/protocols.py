"""What a metric's name means. One name has several definitions in the literature; a protocol picks one for each.

Papers of this field print three quantities as PSNR and two as MANIQA. Here a metric is its exact id, such as
`psnr@y-bt601-limited,c0`, and a number is never shown without the protocol that it was made under. Protocols are files:
those beside this module, and a user's own.
"""

from dataclasses import dataclass
from pathlib import Path

from framer.config_file import read_model
from framer.errors import UserError, unknown
from framer.scoring.definitions import Metric, ProtocolFile

__all__ = ["PROTOCOLS", "USERS", "Metric", "Protocol"]

USERS = Path("config") / "protocols"
"""Where a study's own protocols lie, one NAME.yaml each."""


@dataclass(frozen=True)
class Protocol:
    """A named set of definitions, one a metric name, in the order of the tables."""

    name: str
    summary: str
    """What a reader of a table must know, in words."""
    metrics: tuple[Metric, ...]

    def select(self, names: list[str]) -> list[Metric]:
        """The named metrics, in the protocol's order.

        Raises:
            UserError: no name, an unknown one, or one twice.
        """
        known = [metric.name for metric in self.metrics]
        if not names:
            raise UserError(f"protocol {self.name!r}: no metric named; name some of {', '.join(known)}")
        for name in names:
            if name not in known:
                raise UserError(f"protocol {self.name!r}: {unknown('metric', name, known)}")
            if names.count(name) > 1:
                raise UserError(f"protocol {self.name!r}: metric {name!r} is named twice")
        return [metric for metric in self.metrics if metric.name in names]

    @staticmethod
    def load(path: Path) -> "Protocol":
        """Read a protocol file; the protocol's name is the file's.

        Raises:
            UserError: the file is missing, is no YAML, says what it may not, or takes the name of another protocol.
        """
        if path.stem in PROTOCOLS:
            raise UserError(f"{path}: {path.stem!r} is a protocol that framer defines; rename the file")
        return _read(path)

    @staticmethod
    def named(name: str) -> "Protocol":
        """One of `PROTOCOLS`, one in the folder `USERS`, or, for a name that ends in .yaml, the file of that path.

        Raises:
            UserError: there is none of that name, or its file is wrong.
        """
        if name in PROTOCOLS:
            return PROTOCOLS[name]
        if name.endswith(".yaml"):
            return Protocol.load(Path(name))
        own = {path.stem: path for path in sorted(USERS.glob("*.yaml"))}
        if name in own:
            return Protocol.load(own[name])
        raise UserError(unknown("protocol", name, [*PROTOCOLS, *own]))


def _read(path: Path) -> Protocol:
    content = read_model(path, ProtocolFile)
    if not content.metrics.metrics:
        raise UserError(
            f"{path}: metrics: defines none; define some of {', '.join(type(content.metrics).model_fields)}"
        )
    return Protocol(path.stem, content.summary, content.metrics.metrics)


_FILES = [Path(__file__).parent / f"{name}.yaml" for name in ("osediff", "seesr", "framer")]
PROTOCOLS = {path.stem: _read(path) for path in _FILES}
"""Those that framer defines, by name."""
