"""The optional part of a study: nothing without the option, and with it no run of the study is another."""

from pathlib import Path

import pytest
import yaml

from framer.errors import UserError
from framer.study.study import Study
from tests.fixtures.clone import ROOT

ARM = {"label": "Deep supervision", "backbone": "pisa_sr", "recipe": {"base": "paper", "teacher": "truth"}}


def study(folder: Path, rivals: dict[str, object] | None, *, asked: bool | None = False) -> Study:
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(config | ({"rivals": rivals} if rivals else {}), sort_keys=False))
    return Study.load(path, ROOT / "datasets", rivals=asked)


def jobs(one: Study) -> dict[str, list[object]]:
    return {row: [one.planned_job(row).digest if row in one.runs else None, one.restore_job(row)] for row in one.rows}


def test_without_the_option_a_study_is_as_if_it_had_no_such_part(tmp_path: Path) -> None:
    rivals = {"arms": {"mine": ARM}, "sweeps": {"cutoff": {"of": "mine", "recipe.cutoff": [0.1, 0.2]}}}
    plain, off, on = (
        study(tmp_path, *a, asked=b) for a, b in (((None,), False), ((rivals,), False), ((rivals,), True))
    )
    assert jobs(off) == jobs(plain) and off.pairs == plain.pairs and off.manifests == plain.manifests
    assert {row: job for row, job in jobs(on).items() if row in off.rows} == jobs(off)
    assert {*on.runs} - {*off.runs} == {"mine-s0", "mine-cutoff_0_1-s0"}
    assert {*study(tmp_path, rivals, asked=None).rows} == {*on.rows} and study(tmp_path, None, asked=None).rows


def test_the_paper_study_trains_what_it_always_did() -> None:
    off, on = (Study.load(ROOT / "config/paper.yaml", ROOT / "datasets", rivals=asked) for asked in (False, True))
    found = jobs(on)
    assert all(found[row] == job for row, job in jobs(off).items())
    new = {*on.runs} - {*off.runs}
    assert new and all(on.arm(run).backbone == "pisa_sr" and on.arm(run).recipe for run in new), "no baseline"


@pytest.mark.parametrize(
    ("rivals", "words"),
    [
        ({"arms": {"pisa_sr-framer": ARM}}, "rivals.arms.pisa_sr-framer: the study has one of this name"),
        ({"arms": {"mine": ARM | {"backbone": "x"}}}, "with rivals, arms.mine.backbone: unknown backbone 'x'"),
        ({"arms": {"mine": ARM | {"recipes": "x"}}}, "unknown key 'recipes', did you mean 'recipe'"),
    ],
)
def test_a_mistake_in_it_is_found_without_the_option(tmp_path: Path, rivals: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as error:
        study(tmp_path, rivals)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ") and words in message and "\n" not in message


def test_who_asks_for_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rivals: missing; the study has no optional part"):
        study(tmp_path, None, asked=True)
