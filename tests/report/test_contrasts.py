"""Comparisons of any two rows, from a study file to tables."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from framer.errors import UserError
from framer.report.cells import tables
from framer.report.comparison import Scope
from framer.report.contrasts import contrasts
from framer.report.page import render as render_page
from framer.report.tables import render
from framer.study.study import Study
from tests.fixtures.finished_study import write_scores

OTHERS = """
title: Others
seed: 1
sets: [pairs-a]
protocols: [osediff]
metrics: [psnr, ssim]
{compare}
backbones: {{}}
arms:
  realesrgan: {{label: Real-ESRGAN, images: true}}
  osediff: {{label: OSEDiff, images: true}}
"""


def others(compare: str, gain: float = 0.5) -> Study:
    """A study of other people's methods: the first is better in PSNR by a gain and equal in SSIM."""
    path = Path("config", "others.yaml")
    path.write_text(OTHERS.format(compare=compare))
    study = Study.load(path)
    rng = np.random.default_rng(0)
    psnr = rng.normal(25, 3, 30)
    for row, offset in (("realesrgan", gain), ("osediff", 0.0)):
        values = psnr + offset + rng.normal(0, 0.3, 30)
        images = {f"{i}.png": {"psnr": float(value), "ssim": 0.5} for i, value in enumerate(values)}
        write_scores(study.out / "scores" / row / "pairs-a" / "osediff.csv", images, {})
    return study


@pytest.fixture(autouse=True)
def _in_a_study(study: Study) -> None:
    """The folder of `conftest.study`, for its data sets."""


def test_methods_of_others_are_compared_over_images():
    study = others("compare: [[realesrgan, osediff]]")
    found = tables(study, {})
    [[psnr, ssim]] = contrasts(study, found)
    assert psnr.comparison is not None
    assert psnr.comparison.scope is Scope.IMAGES
    ours, theirs = psnr.ours.values, psnr.theirs.values
    assert ours is not None
    assert theirs is not None
    expected = stats.ttest_rel(ours[0], theirs[0])
    assert psnr.comparison.difference == pytest.approx(float((ours - theirs).mean()))
    assert psnr.comparison.p == pytest.approx(expected.pvalue)
    assert psnr.comparison.adjusted == pytest.approx(2 * expected.pvalue), "two comparisons"
    assert (psnr.text, ssim.comparison and ssim.comparison.p) == ("better", 1.0)


def test_order_turns_the_result():
    study = others("compare: [[osediff, realesrgan]]")
    [[psnr, _]] = contrasts(study, tables(study, {}))
    assert psnr.text == "worse"


def test_tables_and_page_have_the_comparison_and_no_claims():
    study = others("compare: [[realesrgan, osediff]]")
    render(study, Path("tables"))
    rows = list(csv.DictReader(Path("tables", "claims.csv").read_text().splitlines()))
    assert [(row["kind"], row["arm"], row["baseline"], row["verdict"]) for row in rows] == [
        ("comparison", "realesrgan", "osediff", "better"),
        ("comparison", "realesrgan", "osediff", "undecided"),
    ]
    assert rows[0]["judged_over"] == "images"
    assert float(rows[0]["low"]) > 0
    text = Path("tables", "claims.md").read_text()
    assert "Real-ESRGAN − OSEDiff, PSNR ↑" in text
    assert "against its baselines" not in text
    render_page(study, Path("report.html"))
    page = Path("report.html").read_text()
    assert "Others: comparisons" in page
    assert "0 claims" not in page, "comparisons are none"


def test_a_study_without_claims_has_no_empty_section():
    study = others("")
    render(study, Path("tables"))
    assert Path("tables", "claims.csv").read_text().count("\n") == 1
    render_page(study, Path("report.html"))
    page = Path("report.html").read_text()
    assert 'id="verdicts"' not in page
    assert 'href="#verdicts"' not in page


def test_a_row_that_does_not_exist_is_named():
    study = others("compare: [[realesrgan, osedif]]")
    with pytest.raises(UserError, match="did you mean 'osediff'") as error:
        contrasts(study, tables(study, {}))
    assert (error.value.key, error.value.code) == ("compare", "unknown")


@pytest.mark.parametrize("pair", ["[[osediff]]", "[[osediff, osediff]]", "[[a, b, c]]"])
def test_a_comparison_is_of_two_rows(pair: str):
    with pytest.raises(UserError) as error:
        others(f"compare: {pair}")
    assert "compare" in str(error.value)


def test_seeds_against_a_method_with_one_row(study: Study):
    """Trained seeds against bicubic: every seed is compared with the one row."""
    study.path.write_text(study.path.read_text() + "\ncompare: [[pisa_sr-baseline, bicubic]]\n")
    changed = Study.load(study.path)
    [found] = contrasts(changed, tables(changed, {}))
    one = next(one for one in found if one.metric.name == "psnr" and one.set == "pairs-a")
    assert one.comparison is not None
    assert one.comparison.seeds == (0, 1)
    assert one.comparison.difference == pytest.approx(1.25)
    assert one.comparison.scope is Scope.CROSSED
