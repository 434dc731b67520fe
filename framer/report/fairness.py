"""Whether two arms differ in FRAMER alone: by the study's settings, and by what the cards say was really done."""

from collections.abc import Sequence
from functools import cache

from framer.report.cells import Cell
from framer.report.lineage import differences
from framer.study.study import Study

EFFECTS = (
    "restored.checkpoint.job.recipe",
    "restored.checkpoint.method",
    "restored.checkpoint.payload.",
    "restored.payload.",
    "scored.SR",
    "restored.checkpoint.job.snapshots",
    "restored.checkpoint.snapshots.",
)
"""Parts of a cell's tree in which the arms of a fair comparison differ: the recipe and its code, the bytes that come of
it, and what was kept on the way, which changes nothing of the end."""
NAMES = (
    ("restored.checkpoint.job.", ""),
    ("restored.checkpoint.base.", "base."),
    ("restored.checkpoint.", "train."),
    ("restored.", "restore."),
    ("scored.", "score."),
)
"""Parts of a tree, and how the settings of a study are called."""
MOST = 4
"""Differences that are named."""


class Fairness:
    """Compares arms of a study; the settings of each pair are resolved once."""

    def __init__(self, study: Study):
        self.study = study
        self._settings = cache(study.differences)

    def objection(self, ours: Cell, theirs: Cell, seeds: Sequence[int | None]) -> str | None:
        """In what two cells differ besides the recipe, in words; None for a fair comparison.

        Args:
            ours: of an arm that the study trains.
            theirs: of another one; the same set, protocol and metric.
            seeds: training seeds of both, which are compared.

        Raises:
            UserError: one of the arms is not trained by the study.
        """
        found = {text.partition(":")[0]: text for text in self._settings(ours.arm, theirs.arm)}
        if not seeds:
            found.setdefault("seeds", f"seeds: {_listed(ours)}, not {_listed(theirs)}")
        for seed in seeds:
            branch = f"seed {seed}"
            for path, one, other in differences(ours.tree[branch], theirs.tree[branch]):
                key = _named(path)
                if not path.startswith(EFFECTS):
                    found.setdefault(key, f"{key}: {one}, not {other}")
        if not found:
            return None
        more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
        label = self.study.arms[theirs.arm].label
        return f"Unfair: more than FRAMER differs from {label}: {'; '.join(list(found.values())[:MOST])}{more}"


def _listed(cell: Cell) -> str:
    return ", ".join(map(str, cell.seeds))


def _named(path: str) -> str:
    for start, name in NAMES:
        if path.startswith(start):
            return name + path.removeprefix(start)
    return path
