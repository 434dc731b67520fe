"""Which metrics can be computed with the weights on this machine. Scoring reads weights and never downloads any."""

from framer import weights
from framer.scoring.protocols import Metric


def missing(metric: Metric) -> list[str]:
    """The files that a metric needs and that are not there, relative to the folder of weights."""
    return weights.missing(metric.weights)


def unavailable(metric: Metric, *, has_hr: bool) -> str | None:
    """Why a metric cannot be computed here, as a table's footnote prints it; None if it can."""
    if metric.needs_hr and not has_hr:
        return f"{metric.title} compares with HR images, of which there are none"
    if absent := missing(metric):
        return f"{metric.title} needs weights that are not on this machine: {', '.join(absent)}"
    return None


def hashes(metrics: list[Metric]) -> dict[str, str]:
    """The sha256 of every file that some metrics need; all must be there.

    Raises:
        UserError: a file is not the one that was published under its name.
    """
    return weights.verified(sorted({name for metric in metrics for name in metric.weights}))
