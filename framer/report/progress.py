"""What of a study's scores is not here yet, so that its table can be seen before it is complete."""

from framer.study.study import Study


def unscored(study: Study) -> dict[str, str]:
    """By ARM/SET, how many of its rows are scored, where not all are; `framer.report.cells.tables` takes it as missing.

    A mean over some of the training seeds is not what the study asks for: such a cell is n/a.
    """
    rows: dict[str, list[bool]] = {}
    for row, set_id in study.pairs:
        files = [study.paths.scores(row, set_id, name) for name in study.config.protocols]
        rows.setdefault(f"{study.rows[row].arm}/{set_id}", []).append(all(path.is_file() for path in files))
    return {
        name: f"{name}: {sum(scored)} of {len(scored)} rows are scored"
        for name, scored in rows.items()
        if not all(scored)
    }
