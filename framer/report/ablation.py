"""The ablation grid: the arms of a backbone by the table of the paper that their recipe is a row of."""

from collections.abc import Iterator, Sequence

from framer.report.cells import Line, Table
from framer.report.grid import Entry, Grid, Group, Row
from framer.report.layout import caption, reading
from framer.report.marks import Tier, tiers
from framer.study import Study

TABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Table 2: what is distilled", ("noise_only", "l2", "paper")),
    ("Table 3: who teaches, against what", ("fixed_teacher_no_negatives", "fixed_teacher", "no_negatives", "paper")),
    ("Table 4: which loss on which band", ("intra_both", "inter_both", "swapped", "paper")),
    ("Table 5: the two weights", ("no_faw_no_fam", "no_faw", "no_fam", "paper")),
    ("The paper's reading and the released code", ("paper", "released")),
    (
        "From the paper's reading to the released code, a step at a time",
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
    for section in table.sections:
        for backbone in study.config.backbones:
            arms = {
                config.recipe: line
                for line in section.methods
                if (config := study.config.arms.get(line.arm)) and config.backbone == backbone and config.recipe
            }
            groups = [_group(name, [arms[r] for r in recipes if r in arms], arms) for name, recipes in TABLES]
            having = tuple(group for group in groups if len(group.rows) > 1)
            if having:
                yield Grid(
                    f"ablation-{table.protocol.name}-{section.set}-{backbone}",
                    f"{title}: ablations of FRAMER in {backbone}, {section.title} ({section.set})",
                    caption(table),
                    ("Recipe", *(metric.heading for metric in table.metrics)),
                    having,
                    reading(table).replace("its column", "its column and block").replace("a column", "a block"),
                )


def _group(heading: str, lines: Sequence[Line], arms: dict[str, Line]) -> Group:
    names = {line.arm: recipe for recipe, line in arms.items()}
    marks = []
    for column in zip(*(line.cells for line in lines), strict=True):
        having = [cell.values.mean(0) for cell in column if cell.values is not None]
        found = iter(tiers(having, column[0].metric.higher_is_better))
        marks.append([Tier.NONE if cell.values is None else next(found) for cell in column])
    rows = []
    for number, line in enumerate(lines):
        entries = [Entry(c.text, m[number], c.reason, c.id) for c, m in zip(line.cells, marks, strict=True)]
        rows.append(Row(names[line.arm], tuple(entries)))
    return Group(heading, tuple(rows))
