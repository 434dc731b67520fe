"""The ablation grid: rows of a block share their training seeds, and its arms stand nowhere else."""

from pathlib import Path

import pytest

from framer.report.ablation_table import TABLES
from framer.report.cells import find, tables
from framer.report.claims import claims
from framer.report.paper_numbers import Ledger
from framer.report.tables import render
from framer.study.study import Study
from tests.fixtures.finished_study import STUDY, write_scores
from tests.report.test_tables import markdown_rows

MEANS = {
    "pisa_sr-framer-s0": 20.0,
    "pisa_sr-framer-s1": 30.0,
    "pisa_sr-l2-s1": 25.0,
    "pisa_sr-baseline-s0": 23.0,
    "pisa_sr-baseline-s1": 24.0,
    "pisa_sr-swapped-s1": 21.0,
}


@pytest.fixture
def ablated(study: Study) -> Study:
    """Four recipes: the paper's at two seeds on both sets, the others at one seed on one set."""
    text = STUDY.replace("recipe: released", "recipe: paper")
    text += "ablations:\n  pisa_sr: {recipes: [noise_only, l2, paper, swapped], sets: [pairs-a], seeds: [1]}\n"
    study.path.write_text(text)
    ablated = Study.load(study.path)
    for row, mean in MEANS.items():
        for set_id in ablated.sets_of(row):
            values = {f"im_{i}.png": {"psnr": mean + i % 2 - 0.5, "ssim": 0.5} for i in range(8)}
            path = ablated.out / "scores" / row / set_id / "osediff.csv"
            write_scores(path, values, {"lpips": "LPIPS needs weights_x"})
    return ablated


def test_a_block_is_over_the_seeds_of_all_its_rows(ablated: Study):
    render(ablated, Path("tables"))
    text = Path("tables", "ablation.md").read_text()
    rows = markdown_rows(text)
    assert rows["paper"] == ["**30.00**", "**0.5000**", "n/a [2]"], "seed 1 alone; over both it is 25"
    assert [rows[recipe][0] for recipe in ("l2", "noise_only [1]", "swapped")] == ["*25.00*", "24.00", "*21.00*"]
    assert "### Table 2: what is distilled (seed 1)" in text
    assert "A block is over the training seeds that all of its rows have." in " ".join(text.split())
    assert markdown_rows(Path("tables", "main.md").read_text())["FRAMER_U"][0] == "**25.00**"


def test_ablation_arms_stand_in_the_grid_only(ablated: Study):
    [table] = tables(ablated, {})
    assert ablated.ablation_arms == {"pisa_sr-l2", "pisa_sr-swapped"}
    assert [line.arm for section in table.sections for line in section.methods] == [
        *("bicubic", "pisa_sr-baseline", "pisa_sr-framer") * 2
    ]
    assert {claim.ours.arm for claim in claims(ablated, [table], Ledger())[0]} == {"pisa_sr-framer"}
    render(ablated, Path("tables"))
    assert "pairs-b" not in Path("tables", "ablation.md").read_text(), "no arm but the paper's is for it"
    assert "l2" not in Path("tables", "main.md").read_text()
    named = {line.split(",")[1] for line in Path("tables", "main.csv").read_text().splitlines()}
    assert ablated.ablation_arms < named, "their cells are in the CSV"
    assert find(ablated, "pisa_sr-l2/pairs-a/osediff/psnr").mean == 25


def test_the_row_without_a_loss_is_the_baseline(ablated: Study):
    """At the block's seed, with a footnote; on the sets of the ablations, and where they name the recipe."""
    render(ablated, Path("tables"))
    text = Path("tables", "ablation.md").read_text()
    rows = markdown_rows(text)
    assert rows["noise_only [1]"][0] == "24.00", "seed 1 alone; over both it is 23.5"
    assert "[1] Base & \\<b>line\\</b>, whose training this recipe would repeat: its loss is zero." in text
    assert markdown_rows(Path("tables", "main.md").read_text())["Base & \\<b>line\\</b>"][0].strip("*") == "23.50"
    on_both = changed(ablated, ("recipe: paper}", "recipe: paper}\n  l2: {label: L2, backbone: pisa_sr, recipe: l2}"))
    for row, set_id in on_both.pairs:
        path = on_both.out / "scores" / row / set_id / "osediff.csv"
        if row.startswith("l2"):
            write_scores(path, {f"im_{i}.png": {"psnr": 22.0, "ssim": 0.5} for i in range(8)}, {"lpips": "none"})
    render(on_both, Path("tables"))
    first, second = Path("tables", "ablation.md").read_text().split("Pairs pairs-b")
    assert "noise_only" in first
    assert "noise_only" not in second and "| l2 " in second
    render(changed(on_both, ("[noise_only, l2,", "[l2,")), Path("tables"))
    assert "noise_only" not in Path("tables", "ablation.md").read_text()


def test_with_other_seeds_than_the_baseline_it_is_trained(ablated: Study):
    mine = changed(ablated, ('Base & <b>line</b>", backbone: pisa_sr', 'Base", backbone: pisa_sr, seeds: [0]'))
    assert "pisa_sr-noise_only" in mine.ablation_arms
    values = {f"im_{i}.png": {"psnr": 19.0, "ssim": 0.5} for i in range(8)}
    write_scores(mine.out / "scores" / "pisa_sr-noise_only-s1" / "pairs-a" / "osediff.csv", values, {"lpips": "none"})
    render(mine, Path("tables"))
    assert markdown_rows(Path("tables", "ablation.md").read_text())["noise_only"][0] == "19.00"


def changed(study: Study, *changes: tuple[str, str]) -> Study:
    text = study.path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    study.path.write_text(text)
    return Study.load(study.path)


def test_no_seed_in_common(ablated: Study):
    only = ("recipe: paper}", "recipe: paper, seeds: [0]}")
    render(changed(ablated, only, ("l2, paper, swapped", "l2, swapped")), Path("tables"))
    text = Path("tables", "ablation.md").read_text()
    assert markdown_rows(text)["paper"][0].startswith("n/a ["), "seed 0"
    assert markdown_rows(text)["l2"][0].startswith("n/a ["), "seed 1"
    assert "no training seed that all rows of the block have" in " ".join(text.split())


def test_an_arm_among_the_ablations_goes_before_one_that_is_not_as_they_are(ablated: Study):
    two = changed(ablated, ("recipe: paper}", "recipe: paper, seeds: [0]}"))
    assert "pisa_sr-paper" in two.ablation_arms
    path = two.out / "scores" / "pisa_sr-paper-s1" / "pairs-a" / "osediff.csv"
    values = {f"im_{i}.png": {"psnr": 22.0, "ssim": 0.5} for i in range(8)}
    write_scores(path, values, {"lpips": "LPIPS needs weights_x"})
    render(two, Path("tables"))
    assert "22.00" in markdown_rows(Path("tables", "ablation.md").read_text())["paper"][0]


def test_a_set_that_an_arm_does_not_have_is_blank(study: Study):
    study.path.write_text(study.path.read_text().replace("recipe: released}", "recipe: released, sets: [pairs-a]}"))
    render(Study.load(study.path), Path("tables"))
    text = Path("tables", "main.md").read_text()
    first, second = (markdown_rows(part) for part in text.split("### Pairs pairs-b"))
    assert first["FRAMER_U"][0] == "*28.25*"
    assert second["FRAMER_U"] == ["", "", ""]
    assert "pisa_sr-framer,pairs-b" not in Path("tables", "main.csv").read_text()


def test_settings_of_a_row_that_differ_are_said(ablated: Study):
    """The paper's reading with other settings than those of the ablations."""
    other = ("recipe: paper}", "recipe: paper, settings: {rank_pix: 8}}")
    render(changed(ablated, other, ("l2, paper, swapped", "l2, swapped")), Path("tables"))
    text = Path("tables", "ablation.md").read_text()
    assert "Unfair: more than FRAMER differs from FRAMER_U: settings.rank_pix: 4, not 8" in " ".join(text.split())


def test_every_recipe_of_the_paper_has_a_block():
    from framer.method.recipe import Recipe

    assert {recipe for _, recipes in TABLES for recipe in recipes} == set(Recipe.names())
