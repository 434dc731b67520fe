"""The cost table: measurements beside the baseline's, and the paper's where the networks are the paper's."""

import shutil

import pytest

from framer.errors import UserError
from framer.report.cost_table import cost_grid
from framer.report.paper_numbers import FOLDER
from framer.report.render_table import Grid
from framer.study.rivals import RivalsConfig
from framer.study.study import Study
from tests.fixtures.clone import ROOT
from tests.fixtures.finished_study import STUDY

HEAD = "arm,quantity,value,device\n"
DIT4SR = (
    STUDY.replace("pisa_sr", "dit4sr")
    .replace("degradation: dit4sr", "degradation: pisa_sr")
    .replace("pixel", "control")
)


def grid_of(study: Study, *lines: str, head: str = HEAD, missing: dict[str, str] | None = None) -> Grid:
    """The table of a study whose file of costs has these lines."""
    path = study.out / "analysis" / "cost.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(f"{line}\n" for line in lines))
    [grid] = cost_grid(study, missing or {})
    return grid


def measured(study: Study, *lines: str, head: str = HEAD) -> list[tuple[str, list[str]]]:
    """Its rows."""
    grid = grid_of(study, *lines, head=head)
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
    grid = grid_of(Study.load(study.path), *lines)
    [rows] = [group.rows for group in grid.groups]
    paper = [([entry.text for entry in row.entries], row.note) for row in rows if row.label == "paper"]
    note = "FRAMER's figure 6, quoted: one H200, batch 16; its other settings are not known"
    assert paper == [(["+7%", "+3%", "0%", ""], note)] * shown
    assert grid.reading == "Ratios are within one run on one device.", "nothing about the paper's"


BOTH = STUDY.replace("seeds: [0, 1]", "seeds: [0, 1]\nanalysis: {set: pairs-a, cost: {batch: 16, crop: 512}}").replace(
    "arms:",
    """  dit4sr:
    base: tiny
    data: {sets: [photos], degradation: pisa_sr}
    pretrain: {steps: 1, batch: 1, crop: 32, lr: 0.1}
    train: {control: {steps: 1, batch: 64, crop: 32, lr: 0.1}}
arms:
  dit4sr-baseline: {label: DiT4SR, backbone: dit4sr}
  dit4sr-framer: {label: FRAMER_D, backbone: dit4sr, recipe: paper}""",
    1,
)
ARMS = ("pisa_sr-baseline", "pisa_sr-framer", "dit4sr-baseline", "dit4sr-framer")
ALL = [f'{arm},train_memory_gib,2,"A card, torch 2, CUDA 1"' for arm in ARMS]
MADE = "training with batch 16 on crops of 512 pixels, restoring one image of that size"
TOLD = f"Measured on A card, torch 2, CUDA 1: {MADE}"


def both(study: Study, *changes: tuple[str, str]) -> Study:
    """Two backbones of two arms, with a measurement of all."""
    text = BOTH
    for before, after in changes:
        assert text.count(before) == 1
        text = text.replace(before, after)
    study.path.write_text(text)
    return Study.load(study.path)


OF_DIT4SR = "train: {control: {steps: 1, batch: 64, crop: 32, lr: 0.1}}"


def test_the_caption_says_under_what_it_was_measured(study: Study):
    """Batch and crop are the measurement's, not the training's."""
    alike = "float32, deterministic, without gradient checkpointing"
    assert grid_of(both(study), *ALL).caption == f"{TOLD}; {alike}."
    more = """
    numerics: {precision: bf16, deterministic: false, compile: true}
    settings: {gradient_checkpointing: true, restore: {precision: fp16}}"""
    changed = both(study, (OF_DIT4SR, OF_DIT4SR + more))
    of_dit4sr = "training in bf16, restoring in fp16, compiled, with gradient checkpointing"
    assert grid_of(changed, *ALL).caption == f"{TOLD}; pisa_sr: {alike}; dit4sr: {of_dit4sr}."
    assert grid_of(changed, *ALL[2:]).caption == f"{TOLD}; {of_dit4sr}.", "of what was measured alone"


def test_arms_of_a_backbone_that_differ_are_named(study: Study):
    arm = "backbone: dit4sr, recipe: paper"
    changed = both(study, (arm, f"{arm}, settings: {{gradient_checkpointing: true}}"))
    without = "float32, deterministic, without gradient checkpointing"
    assert grid_of(changed, *ALL).caption == (
        f"{TOLD}; pisa_sr, DiT4SR: {without}; FRAMER_D: {without.replace('without', 'with')}."
    )


def test_an_arm_that_did_not_fit_is_a_row(study: Study):
    grid = grid_of(both(study), *ALL[:3])
    [row] = [row for group in grid.groups for row in group.rows if row.label == "FRAMER_D"]
    assert [entry.text for entry in row.entries] == ["n/a"] * 4
    assert row.note == "not measured: it did not fit into the memory of A card at batch 16"
    without_baseline = grid_of(both(study), *ALL[:2], ALL[3])
    labels = [row.label for group in without_baseline.groups for row in group.rows]
    assert labels[:2] == ["DiT4SR", "FRAMER_D"] and "over DiT4SR" not in labels, "nothing to compare it with"
    assert "Bicubic" not in labels, "which was not to be measured"
    nothing = grid_of(both(study))
    [rows] = [group.rows for group in nothing.groups]
    assert nothing.caption == "Nothing fitted."
    assert {row.note for row in rows} == {"not measured: it did not fit into the memory of the device at batch 16"}
    assert len(rows) == 4


def test_an_arm_that_cannot_be_trained_here_is_not_said_to_be_too_large(study: Study):
    grid = grid_of(both(study), *ALL[:3], missing={"photos": "by hand"})
    assert "FRAMER_D" not in [row.label for group in grid.groups for row in group.rows]
    assert grid.caption.startswith(TOLD), "what was measured was"


def test_what_was_measured_of_an_optional_part_is_shown_with_it_alone(study: Study):
    rivals = {"arms": {"pisa_sr-other": {"label": "Other", "backbone": "pisa_sr", "recipe": "l2"}}}
    study.config = study.config.model_copy(update={"rivals": RivalsConfig.model_validate(rivals)})
    rows = measured(study, "pisa_sr-other,train_memory_gib,2,A", "pisa_sr-baseline,train_memory_gib,1,A")
    assert [label for label, values in rows if any(values)] == ["Base & <b>line</b>"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["pisa_sr-frame,train_memory_gib,1,A"], "line 2: needs an arm of the study"),
        (["bicubic,train_memory,1,A"], "line 2: needs an arm of the study, a quantity"),
        (["bicubic,train_memory_gib,1,A", "bicubic,train_seconds_per_step,0,A"], "line 3: .* a positive value"),
        (["bicubic,train_memory_gib,nan,A"], "line 2: .* a positive value"),
        (["bicubic,train_memory_gib,1,A", "bicubic,train_seconds_per_step,1,B"], "2 devices"),
    ],
)
def test_a_measurement_that_cannot_be_is_refused(study: Study, lines: list[str], words: str):
    with pytest.raises(UserError, match=rf"cost\.csv: {words}"):
        measured(study, *lines)


def test_without_a_measurement_there_is_no_table(study: Study):
    assert cost_grid(study, {}) == []
    with pytest.raises(UserError, match=r"cost\.csv: needs the columns arm, quantity, value, device"):
        measured(study, head="arm,value\n")
