"""Which metrics can be computed with the weights on this machine. Scoring reads weights and never downloads any."""

from framer import weights
from framer.provenance import digest
from framer.scoring.protocols import Metric, Protocol


def missing(metric: Metric) -> list[str]:
    """The files that a metric needs and that are not there, relative to the folder of weights."""
    return weights.missing(metric.weights)


def unavailable(metric: Metric, *, has_hr: bool) -> str | None:
    """Why a metric cannot be computed here, as a table's footnote prints it; None if it can."""
    if metric.needs_hr and not has_hr:
        return f"{metric.title} compares with HR images, which this set does not have"
    if absent := missing(metric):
        return f"{metric.title} needs weights that are not on this machine: {', '.join(absent)}"
    return None


def state(protocol: str, metrics: list[str]) -> str:
    """What some metrics would be computed with, such as `psnr@rgb,c0 musiq@koniq=1f0e6c2a9b3d`.

    Names the exact id of each metric whose weights are here, and a digest of their content: it changes when a
    definition does, when weights come or go and when their bytes change.

    Raises:
        UserError: unknown protocol or metric.
    """
    said = []
    for metric in Protocol.named(protocol).select(metrics):
        if not missing(metric):
            content = digest(weights.hashes(metric.weights)) if metric.weights else ""
            said.append(metric.id + (f"={content}" if content else ""))
    return " ".join(said)


def hashes(metrics: list[Metric]) -> dict[str, str]:
    """The sha256 of every file that some metrics need; all must be there.

    Raises:
        UserError: a file is not the one that was published under its name.
    """
    return weights.verified(sorted({name for metric in metrics for name in metric.weights}))
