"""Which rows of a study can be made, given what is missing. Pure: nothing here looks at the disk.

What is missing is a mapping from a name to one line of instructions; a name is that of a set, the id of published
weights, or ARM/SET for images of another method. `framer.dag.missing` finds it on a machine.
"""

from collections.abc import Mapping

from framer.study.layout import supplied
from framer.study.study import Study


def rows_without_model(study: Study, missing: Mapping[str, str]) -> dict[str, str]:
    """The rows whose model can neither be trained nor loaded, each with the reason."""
    rows = {}
    for row in study.rows.values():
        if (model := row.run or row.arm) in study.published:
            if (weights := study.published[model]) in missing:
                rows[row.id] = missing[weights]
        elif row.arm in study.methods:
            if missing_weights := [name for name in study.method_weights[row.arm] if name in missing]:
                rows[row.id] = missing[missing_weights[0]]
        elif row.run:
            job = study.planned_job(row.run)
            needed = [*job.data.sets, *([job.heldout.set] if job.heldout else [])]
            if study.config.tune and row.arm in {*study.searches, *study.search_arms}:
                needed.append(study.config.tune.by)
            if sets := [name for name in needed if name in missing]:
                rows[row.id] = f"training needs {' and '.join(sets)}, to be downloaded manually"
    return rows


def not_available(study: Study, missing: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """The rows and test sets that cannot be restored or scored, each with the reason; `n/a` in the tables."""
    without_model = rows_without_model(study, missing)
    reasons = {}
    for row, name in study.pairs:
        if reason := missing.get(name) or without_model.get(row) or missing.get(f"{study.rows[row].arm}/{name}"):
            reasons[row, name] = reason
    return reasons


def judged(study: Study, missing: Mapping[str, str]) -> list[tuple[str, str]]:
    """The rows of all searches, each with the held-out set that it restores to be judged, where they can be made."""
    if study.config.tune is None or study.config.tune.by in missing:
        return []
    without_model = rows_without_model(study, missing)
    found = dict.fromkeys(
        run for row, values in study.searched.items() if study.choice(row) == row for run in values.values()
    )
    return [(row, study.config.tune.by) for row in found if row not in without_model]


def how_to_supply(study: Study, arm: str, *sets: str) -> str:
    """One line of instructions for the images of a method that others restored."""
    folders = " and ".join(f"{supplied(arm, name)}/" for name in sets)
    return f"images of {study.arms[arm].label}: put them, named as the LR images, into {folders}"
