"""The ablation grid: the arms of a backbone by the table of the paper that their recipe is a row of."""

from collections.abc import Iterator, Mapping, Sequence

from framer.report.cells import Cell, Line, Table, column_of, mean_of, shared_seeds
from framer.report.fairness import Fairness
from framer.report.main_table import caption, marks_text
from framer.report.render_table import Entry, Grid, Group, Row
from framer.report.significance import Marks, Tier, marks
from framer.scoring.score_file import Array
from framer.study.study import Study

TABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Table 2: what is distilled", ("noise_only", "l2", "paper")),
    ("Table 3: teacher and negatives", ("fixed_teacher_no_negatives", "fixed_teacher", "no_negatives", "paper")),
    ("Table 4: which loss on which band", ("intra_both", "inter_both", "swapped", "paper")),
    ("Table 5: the two weights", ("no_faw_no_fam", "no_faw", "no_fam", "paper")),
    ("The paper and the released code", ("paper", "released")),
    (
        "Step by step to the released code",
        ("paper", "all_students", "quantile_masks", "hard_keys", "mean_layers", "weight_0.1", "released"),
    ),
    (
        "Where the paper is silent",
        (
            "paper",
            "cutoff_0.1",
            "cutoff_0.4",
            "complex_feature",
            "raw_feature",
            "output_space",
            "temperature_0.1",
            "negatives_with_gradient",
            "earlier_negatives",
            "absolute_discrepancy",
            "teacher_discrepancy",
        ),
    ),
)
"""Recipes by the question that they answer. None of the paper's own numbers is known."""


def ablation_grids(study: Study, table: Table, title: str) -> Iterator[Grid]:
    """One grid a set and backbone that has at least two recipes of one question; marks are among its rows alone."""
    fairness = Fairness(study)
    for section in table.sections:
        for backbone in study.config.backbones:
            ablations = (line for line in section.ablations if line.arm not in study.sweep_arms)
            arms = _by_recipe(study, backbone, (*ablations, *section.methods))
            listed = {recipe for _, recipes in TABLES for recipe in recipes}
            own = ("Readings of this study", ("paper", *(recipe for recipe in arms if recipe not in listed)))
            blocks = [(name, {r: arms[r] for r in recipes if r in arms}) for name, recipes in (*TABLES, own)]
            blocks = [(name, lines) for name, lines in blocks if len(lines) > 1]
            marked = _entries([[*lines.values()] for _, lines in blocks])
            groups = tuple(
                _group(study, fairness, name, lines, entries)
                for (name, lines), entries in zip(blocks, marked, strict=True)
            )
            if groups:
                yield Grid(
                    f"ablation-{table.protocol.name}-{section.set}-{backbone}",
                    f"{title}: ablations of FRAMER in {backbone}, {section.title} ({section.set})",
                    f"{caption(table)} A block is over the training seeds that all of its rows have.",
                    ("Recipe", *(metric.heading for metric in table.metrics)),
                    groups,
                    "Means over images, then over the training seeds of the block. "
                    + marks_text("its column and block"),
                    protocol=table.protocol.name,
                )


def _by_recipe(study: Study, backbone: str, lines: Sequence[Line]) -> dict[str, Line]:
    """The row of each recipe, the first where there are several; none of an arm that is not for this set.

    An arm of the main table that is not as the ablations are has a twin among them, which comes first. A baseline is
    the row of the recipe without a loss, on the sets of the ablations.
    """
    found: dict[str, Line] = {}
    ablation = study.config.ablations.get(backbone)
    baselines = {
        baseline: (str(arm.recipe), arm.sets or study.config.sets)
        for arm in (ablation.arms(backbone).values() if ablation else ())
        if (baseline := study.config.baseline(arm))
    }
    for line in sorted(lines, key=lambda line: line.arm in baselines):
        config = study.arms.get(line.arm)
        if config and config.backbone == backbone and any(cell.asked for cell in line.cells):
            own = str(config.recipe) if config.recipe else None
            recipe, sets = baselines.get(line.arm, (own, study.config.sets))
            if recipe and line.cells[0].set in sets:
                found.setdefault(recipe, line)
    return found


def _group(
    study: Study, fairness: Fairness, heading: str, of_recipe: Mapping[str, Line], columns: Sequence[Sequence[Entry]]
) -> Group:
    """One block; its rows are compared with the paper's reading, or with the first where that is not there."""
    recipes, lines = [*of_recipe], [*of_recipe.values()]
    cells = [cell for line in lines for cell in line.cells]
    seeds = shared_seeds(cells)
    reference = lines[recipes.index("paper") if "paper" in recipes else 0]
    rows = []
    for recipe, line, entries in zip(recipes, lines, zip(*columns, strict=True), strict=True):
        pairs = [(one, other) for one, other in zip(line.cells, reference.cells, strict=True) if one.id and other.id]
        found = (fairness.objection(one, other, seeds) for one, other in pairs if seeds and line is not reference)
        unfair = next((text for text in found if text), None)
        reused = (
            None
            if study.arms[line.arm].recipe
            else f"{line.label}, whose training this recipe would repeat: its loss is zero"
        )
        rows.append(Row(recipe, entries, "; ".join(filter(None, (reused, unfair))) or None))
    if len(seeds) == 0 or all(cell.values is None for cell in cells):
        return Group(heading, tuple(rows))
    return Group(f"{heading} (seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))})", tuple(rows))


def _entries(blocks: Sequence[Sequence[Line]]) -> list[list[list[Entry]]]:
    """The entries by block, metric and row, each block at the seeds that all of its rows have.

    All columns of all blocks are one table, and their marks are corrected together.
    """
    columns = [
        (column, shared_seeds([cell for line in lines for cell in line.cells]))
        for lines in blocks
        for column in zip(*(line.cells for line in lines), strict=True)
    ]
    values = [[cell.at(seeds) if seeds else None for cell in column] for column, seeds in columns]
    contests = [
        column_of(column, [one for one in of_column if one is not None])
        for (column, _), of_column in zip(columns, values, strict=True)
    ]
    found = [
        _column(column, of_column, of_marks)
        for (column, _), of_column, of_marks in zip(columns, values, marks(contests), strict=True)
    ]
    metrics = len(found) // max(1, len(blocks))
    return [found[start : start + metrics] for start in range(0, len(found), metrics or 1)]


def _column(cells: Sequence[Cell], values: Sequence[Array | None], found: Marks) -> list[Entry]:
    tiers = iter(found.tiers)
    entries = []
    for cell, one in zip(cells, values, strict=True):
        if one is not None:
            tier = next(tiers)
            note = found.note if tier is Tier.UNDECIDED else None
            entries.append(Entry(f"{mean_of(one):.{cell.metric.digits}f}", tier, note, title=cell.id))
        else:
            none = "no training seed that all rows of the block have"
            entries.append(Entry("n/a" * cell.asked, note=none if cell.id else cell.reason))
    return entries
