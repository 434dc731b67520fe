"""Protocols: the definition of each metric. One name has several definitions in the literature.

Papers of this field print three quantities as PSNR and two as MANIQA. Here a metric is identified by its exact id, such
as `psnr@y-bt601-limited,c0`, and a number is never shown without its protocol. Protocols are files: those beside this
module, and a user's own.
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
    """A named set of definitions, one per metric name, in the order of the tables."""

    name: str
    summary: str
    """The line above every table."""
    metrics: tuple[Metric, ...]

    def select(self, names: list[str]) -> list[Metric]:
        """The named metrics, in the protocol's order.

        Raises:
            UserError: no name, an unknown one, or one twice.
        """
        known = [metric.name for metric in self.metrics]
        if not names:
            raise UserError(f"protocol {self.name!r}: no metric named; name some of {', '.join(known)}", key="metrics")
        for name in names:
            if name not in known:
                message = f"protocol {self.name!r}: {unknown('metric', name, known)}"
                raise UserError(message, key="metrics", code="unknown")
            if names.count(name) > 1:
                message = f"protocol {self.name!r}: metric {name!r} is named twice; name it once"
                raise UserError(message, key="metrics", code="conflict")
        return [metric for metric in self.metrics if metric.name in names]

    @staticmethod
    def load(path: Path) -> "Protocol":
        """Read a protocol file; the protocol's name is the file's.

        Raises:
            UserError: the file is missing, not YAML, has a wrong key or value, or has the name of another protocol.
        """
        if path.stem in PROTOCOLS:
            raise UserError(f"framer defines the protocol {path.stem!r}; rename the file", path=path, code="conflict")
        return _read(path)

    @staticmethod
    def named(name: str) -> "Protocol":
        """One of `PROTOCOLS`, one in the folder `USERS`, or, for a name that ends in .yaml, the file of that path.

        Raises:
            UserError: an unknown name, or an invalid file.
        """
        if name in PROTOCOLS:
            return PROTOCOLS[name]
        if name.endswith(".yaml"):
            return Protocol.load(Path(name))
        own = {path.stem: path for path in sorted(USERS.glob("*.yaml"))}
        if name in own:
            return Protocol.load(own[name])
        raise UserError(unknown("protocol", name, [*PROTOCOLS, *own]), code="unknown")


def _read(path: Path) -> Protocol:
    content = read_model(path, ProtocolFile)
    if not content.metrics.metrics:
        message = f"defines none; define some of {', '.join(type(content.metrics).model_fields)}"
        raise UserError(message, path=path, key="metrics")
    return Protocol(path.stem, content.summary, content.metrics.metrics)


_FILES = [Path(__file__).parent / f"{name}.yaml" for name in ("osediff", "seesr", "framer")]
PROTOCOLS = {path.stem: _read(path) for path in _FILES}
"""Those that framer defines, by name."""
