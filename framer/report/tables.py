"""The tables of a study as Markdown, LaTeX, HTML and CSV, from score files alone."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from framer.provenance.files import csv_text, write_text
from framer.provenance.output import claimed
from framer.report import render_table
from framer.report.ablation_table import ablation_grids
from framer.report.cells import Cell, Table, exact, tables
from framer.report.claims import Claim, claims
from framer.report.comparison import Comparison
from framer.report.contrasts import Contrast, contrasts
from framer.report.cost_table import cost_grid
from framer.report.main_table import claims_grid, contrasts_grid, main_grid, others_grid
from framer.report.paper_numbers import Ledger, Published
from framer.report.render_table import Grid
from framer.report.statistics import Interval
from framer.report.sweeps import sweep_grids
from framer.report.tuning_table import tidy_tuning, tuning_grids
from framer.study.layout import TABLES
from framer.study.study import Study

ORIGIN = ("published_by", "published_table", "published_source", "published_status")
"""Columns that say where a published number is from and how that is known."""
CELL_COLUMNS = (
    *("id", "arm", "set", "protocol", "metric", "metric_id", "mean", "n_images", "n_seeds"),
    *("low", "high", "seeds_low", "seeds_high", "mark"),
    *("published", *ORIGIN, "difference", "reason"),
)
CLAIM_COLUMNS = (
    *("kind", "arm", "baseline", "set", "protocol", "metric", "metric_id", "id", "baseline_id", "n_images", "n_seeds"),
    *("difference", "judged_over", "level", "low", "high", "images_low", "images_high", "seeds_low", "seeds_high"),
    *("p", "p_corrected", "gain_percent", "gain_low", "gain_high", "published_gain_percent", *ORIGIN),
    *("verdict", "size", "needed", "reason"),
)
"""`claims.csv`: claims of FRAMER against its baselines, and the comparisons that the study asks for."""


def render(study: Study, out: Path, missing: dict[str, str] | None = None, datasets: Path = Path("datasets")) -> None:
    """Write every table of `TABLES` into `out`, as .md, .tex and .html; cells and claims as .csv.

    Args:
        study: whose scores are read.
        out: folder of the tables.
        missing: what is not on this machine, as `framer.report.cells.tables` takes it.
        datasets: folder of the data, whose cards are part of a cell's id.

    Raises:
        UserError: see `framer.report.cells.tables`.
    """
    ledger = Ledger.read()
    found = tables(study, missing or {}, datasets, ledger)
    judged, compared = claims(study, found, ledger), contrasts(study, found)
    with claimed(out, "tables", inputs=(study.path,)) as folder:
        for name, grids in grids_of(study, found, judged, compared, missing or {}).items():
            title = TABLES[name]
            write_text(folder.file(f"{name}.md"), "\n".join(map(render_table.markdown, grids)) or f"{title}\n")
            write_text(folder.file(f"{name}.tex"), "\n".join(map(render_table.latex, grids)) or f"% {title}\n")
            write_text(folder.file(f"{name}.html"), render_table.page(grids))
        write_text(folder.file("main.csv"), tidy([cell for table in found for cell in table.cells]))
        write_text(folder.file("tuning.csv"), tidy_tuning(study, missing or {}))
        write_text(folder.file("claims.csv"), tidy_claims(chain(*judged), chain(*compared)))


def grids_of(
    study: Study,
    found: Sequence[Table],
    judged: Sequence[Sequence[Claim]],
    compared: Sequence[Sequence[Contrast]],
    missing: Mapping[str, str],
) -> dict[str, list[Grid]]:
    """All tables of a study as they are printed, by the name of their file."""
    title = study.config.title
    both = list(zip(found, judged, strict=True))
    return {
        "main": [main_grid(table, title, of_table) for table, of_table in both],
        "claims": [
            *(
                make(table, ones, title)
                for make, reading in ((claims_grid, True), (others_grid, False))
                for table, of_table in both
                if (ones := [one for one in of_table if one.reading == reading])
            ),
            *(contrasts_grid(table, ones, title) for table, ones in zip(found, compared, strict=True) if ones),
        ],
        "ablation": [one for table in found for one in ablation_grids(study, table, title)],
        "sweeps": [one for table in found for one in sweep_grids(study, table, title)],
        "tuning": [*tuning_grids(study, title, missing)],
        "cost": cost_grid(study, missing),
    }


def tidy(cells: Iterable[Cell]) -> str:
    """Every cell as a CSV row; numbers with all their digits, empty where there is none."""
    rows = []
    for cell in cells:
        where = (cell.id, cell.arm, cell.set, cell.protocol, cell.metric.name, cell.metric.id)
        number = (exact(cell.mean), cell.n_images, cell.n_seeds)
        printed = _printed(cell.published)
        off = "|".join(repr(cell.mean - one.number) for one in cell.published) if cell.mean is not None else ""
        ends = (*_ends(cell.interval), *_ends(cell.seeds_interval))
        rows.append([*where, *number, *ends, cell.tier.value, *printed, off, cell.reason or ""])
    return csv_text(CELL_COLUMNS, rows)


def tidy_claims(found: Iterable[Claim], compared: Iterable[Contrast]) -> str:
    """Every claim and every comparison as a CSV row."""
    rows = []
    for claim in found:
        printed = _printed((claim.published,) if claim.published else ())
        gain = (exact(claim.gain), *_ends(claim.gain_interval), *printed)
        kind = "claim" if claim.reading else "other loss"
        verdict = (claim.words, claim.size_text, claim.need_text, claim.reason or "")
        rows.append([kind, *_tested(claim.ours, claim.baseline, claim.comparison), *gain, *verdict])
    for one in compared:
        result = one.text.partition(",")[0]
        need = one.comparison.need if one.comparison else ""
        blank = [""] * (3 + len(_printed(())))
        rows.append(
            ["comparison", *_tested(one.ours, one.theirs, one.comparison), *blank, result, "", need, one.reason or ""]
        )
    return csv_text(CLAIM_COLUMNS, rows)


def _tested(ours: Cell, theirs: Cell, found: Comparison | None) -> list[object]:
    """Two cells and their comparison, in the order of `CLAIM_COLUMNS`."""
    where = [ours.arm, theirs.arm, ours.set, ours.protocol, ours.metric.name, ours.metric.id, ours.id, theirs.id]
    if found is None:
        return [*where, ours.n_images, 0, *[""] * 11]
    ends = (*_ends(found.interval), *_ends(found.images_interval), *_ends(found.seeds_interval))
    level = exact(found.level) if found.interval else ""
    tested = (exact(found.difference), found.scope.value, level, *ends, exact(found.p), exact(found.adjusted))
    return [*where, ours.n_images, len(found.seeds), *tested]


def _printed(found: Sequence[Published]) -> list[str]:
    """Values and where they are from, in the order of `ORIGIN`; those of several sources beside one another."""
    names = ("value", "paper", "table", "source", "status")
    return ["|".join(getattr(published, name) for published in found) for name in names]


def _ends(interval: Interval | None) -> tuple[str, str]:
    return ("", "") if interval is None else (repr(interval.low), repr(interval.high))
