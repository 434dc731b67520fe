"""Sweeps in the report: a table and a curve, each value against the baseline."""

from pathlib import Path

import pytest

from framer.report.cells import tables
from framer.report.figures import sweep_curves
from framer.report.sweeps import marked, sweeps
from framer.report.tables import render
from framer.study.study import Study
from tests.fixtures.finished_study import STUDY, write_scores
from tests.report.test_tables import markdown_rows

ADDED = """
sweeps:
  cutoff: {of: pisa_sr-framer, recipe.cutoff: [0.4, 0.2]}
"""


@pytest.fixture
def swept(study: Study) -> Study:
    study.path.write_text(STUDY + ADDED)
    swept = Study.load(study.path)
    for row, mean in (("pisa_sr-framer-cutoff_0_4-s0", 26.0), ("pisa_sr-framer-cutoff_0_4-s1", 27.0)):
        for set_id in swept.config.sets:
            values = {f"im_{i}.png": {"psnr": mean + i % 2 * 4 - 2, "ssim": 0.5} for i in range(8)}
            path = swept.out / "scores" / row / set_id / "osediff.csv"
            write_scores(path, values, {"lpips": "LPIPS needs weights_x"})
    return swept


def test_points_are_differences_to_the_baseline_with_crossed_intervals(swept: Study) -> None:
    [table] = tables(swept, {})
    one, _ = sweeps(swept, table)
    assert [(point.value, point.cells[0].arm) for point in one.points] == [
        (0.2, "pisa_sr-framer"),
        (0.4, "pisa_sr-framer-cutoff_0_4"),
    ]
    found = one.points[1].compared[0]
    assert found is not None and found.difference == pytest.approx(26.5 - 28.25) and len(found.seeds) == 2
    assert found.interval is not None and found.interval.low < found.difference < found.interval.high
    assert one.points[1].compared[2] is None, "no LPIPS here"
    assert {line.arm for section in table.sections for line in section.methods} == {
        *("bicubic", "pisa_sr-baseline", "pisa_sr-framer")
    }


def test_table_and_curve(swept: Study) -> None:
    render(swept, Path("tables"))
    rows = markdown_rows(Path("tables", "sweeps.md").read_text())
    assert rows["0.4"][0] == "26.50" or rows["0.4"][0].startswith("23.50")
    assert any(label.startswith("0.2 (paper, released code)") for label in rows)
    assert not Path("tables", "ablation.md").read_text().count("cutoff=0.4"), "a sweep is no ablation"
    figure = sweep_curves(swept, tables(swept, {}))
    drawn = [axis for axis in figure.axes if axis.has_data()]
    assert len(drawn) == 4 and drawn[0].get_xlabel() == "recipe.cutoff"


def test_marks_are_the_values_of_both_readings() -> None:
    assert marked("recipe.weight") == {1.0: "paper", 0.1: "released code"} and marked("settings.csd") == {}
    assert marked("recipe.teacher") == {}, "words are no places on an axis"
