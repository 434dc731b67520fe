"""Searches in the report: every weight with its score, the chosen one marked."""

import csv

import pytest

from framer.report.tuning_table import tidy_tuning, tuning_grids
from framer.study.study import Study
from tests.runs.test_tuning import RUN, searched
from tests.study.test_tuning import BY, OF

__all__ = ["searched"]


def test_the_whole_search_is_shown(searched: Study) -> None:
    [grid] = tuning_grids(searched, "Mine", {})
    [group] = grid.groups
    assert group.heading == "FRAMER (PiSA-SR), seed 3"
    assert [(row.label, row.entries[0].text) for row in group.rows] == [
        *(("0.1", "27.000"), ("1 (chosen)", "29.000"), ("10", "29.000")),
    ]
    rows = list(csv.DictReader(tidy_tuning(searched, {}).splitlines()))
    assert [(row["weight"], row["chosen"]) for row in rows] == [("0.1", "0"), ("1.0", "1"), ("10.0", "0")]
    assert {(row["arm"], row["of"], row["set"], row["n_images"]) for row in rows} == {(f"{OF}-tuned", OF, BY, "3")}


@pytest.mark.parametrize("name", [BY, "free-photos"])
def test_without_the_sets_there_is_no_search_to_show(searched: Study, name: str) -> None:
    missing = {name: "get it"}
    assert not list(tuning_grids(searched, "Mine", missing)) and len(tidy_tuning(searched, missing).splitlines()) == 1
    assert RUN in searched.searched


def test_without_the_held_out_set_there_is_no_search_to_show(searched: Study) -> None:
    heldout = searched.train_job(f"{OF}-s3").heldout
    assert heldout is not None and not list(tuning_grids(searched, "Mine", {heldout.set: "get it"}))
