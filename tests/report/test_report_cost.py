"""The cost table: measurements beside the baseline's, and the paper's where the networks are the paper's."""

import shutil
from pathlib import Path

import pytest
from finished_study import STUDY

from framer.errors import UserError
from framer.report.cost import cost_grid
from framer.report.published import FOLDER
from framer.study import Study

ROOT = Path(__file__).resolve().parents[2]
HEAD = "arm,quantity,value,device\n"
DIT4SR = (
    STUDY.replace("pisa_sr", "dit4sr")
    .replace("degradation: dit4sr", "degradation: pisa_sr")
    .replace("pixel", "control")
)


def measured(study: Study, *lines: str, head: str = HEAD) -> list[tuple[str, list[str]]]:
    """The rows of the table of a study whose file of costs has these lines."""
    path = study.out / "analysis" / "cost.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(f"{line}\n" for line in lines))
    [grid] = cost_grid(study)
    return [(row.label, [entry.text for entry in row.entries]) for group in grid.groups for row in group.rows]


def test_arms_stand_under_one_another_with_the_ratio_to_their_baseline(study: Study):
    rows = measured(
        study,
        "pisa_sr-baseline,train_seconds_per_step,2.0,A card",
        "pisa_sr-baseline,restore_seconds_per_image,0.5,A card",
        "pisa_sr-framer,train_seconds_per_step,2.14,A card",
        "pisa_sr-framer,train_memory_gib,31.25,A card",
    )
    assert rows == [
        ("Base & <b>line</b>", ["2", "", "0.5", ""]),
        ("FRAMER_U", ["2.14", "31.2", "", ""]),
        ("over Base & <b>line</b>", ["+7.0%", "", "", ""]),
    ]


@pytest.mark.parametrize(("base", "shown"), [("tiny", False), ("random", True)])
def test_the_papers_cost_stands_beside_full_networks_alone(study: Study, base: str, shown: bool):
    shutil.copytree(ROOT / FOLDER, FOLDER, dirs_exist_ok=True)
    lines = [line for line in DIT4SR.splitlines() if base == "tiny" or "pretrain" not in line]
    study.path.write_text("\n".join(lines).replace("base: tiny", f"base: {base}"))
    lines = [f"dit4sr-{arm},train_seconds_per_step,2,A card" for arm in ("baseline", "framer")]
    rows = measured(Study.load(study.path), *lines)
    assert [entries for label, entries in rows if label == "paper"] == [["+7%", "+3%", "0%", ""]] * shown


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["pisa_sr-frame,train_memory_gib,1,A"], "line 2: needs an arm of the study"),
        (["bicubic,train_memory,1,A"], "line 2: needs an arm of the study, a quantity"),
        (["bicubic,train_memory_gib,1,A", "bicubic,train_seconds_per_step,0,A"], "line 3: .* a positive value"),
        (["bicubic,train_memory_gib,nan,A"], "line 2: .* a positive value"),
        (["bicubic,train_memory_gib,1,A", "bicubic,train_seconds_per_step,1,B"], "2 devices"),
        ([], "0 devices"),
    ],
)
def test_a_measurement_that_cannot_be_is_refused(study: Study, lines: list[str], words: str):
    with pytest.raises(UserError, match=rf"cost\.csv: {words}"):
        measured(study, *lines)


def test_without_a_measurement_there_is_no_table(study: Study):
    assert cost_grid(study) == []
    with pytest.raises(UserError, match=r"cost\.csv: needs the columns arm, quantity, value, device"):
        measured(study, head="arm,value\n")
