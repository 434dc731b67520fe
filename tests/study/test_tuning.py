"""The search for weights: what it trains, shares and chooses, and mistakes in one line."""

import json
from pathlib import Path

import pytest
import yaml

from framer.errors import UserError
from framer.study.availability import judged
from framer.study.study import Study
from tests.fixtures.clone import ROOT

OF = "pisa_sr-framer"
BY = "photos-heldout-pisa_sr"
TUNE = {"weight": [0.1, 1, 10], "by": BY, "arms": [OF]}


def study(folder: Path, tune: dict[str, object] | None = None, **changes: object) -> Study:
    """The smoke study on other photographs, with two seeds and a search."""
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    for backbone in config["backbones"].values():
        backbone["data"]["sets"] = ["free-photos"]
    config |= {"seeds": [3, 5], **changes} | ({"tune": tune} if tune else {})
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return Study.load(path, ROOT / "datasets")


def test_each_weight_is_a_run_at_the_first_seed_and_what_exists_is_shared(tmp_path: Path) -> None:
    mine, plain = study(tmp_path, TUNE), study(tmp_path)
    assert set(mine.runs) - set(plain.runs) == {
        *(f"{OF}-weight_1-s3", f"{OF}-weight_10-s3"),
        *(f"{OF}-tuned-s3", f"{OF}-tuned-s5"),
    }
    assert mine.searched == {f"{OF}-tuned-s3": {0.1: f"{OF}-s3", 1: f"{OF}-weight_1-s3", 10: f"{OF}-weight_10-s3"}}
    assert judged(mine, {}) == [(f"{OF}{row}-s3", BY) for row in ("", "-weight_1", "-weight_10")]
    assert {mine.choice(run) for run in mine.runs} == {None, f"{OF}-tuned-s3"}
    assert {run: mine.train_job(run).digest for run in plain.runs} == {r: plain.train_job(r).digest for r in plain.runs}


def test_what_only_a_search_trains_restores_no_test_image(tmp_path: Path) -> None:
    mine = study(tmp_path, TUNE)
    tried = {f"{OF}-weight_1-s3", f"{OF}-weight_10-s3"}
    assert not tried & {row for row, _ in mine.pairs} and (f"{OF}-tuned-s5", "photos-crop128") in mine.pairs


def test_runs_of_a_sweep_are_shared_where_they_have_the_seed(tmp_path: Path) -> None:
    swept = study(tmp_path, TUNE, sweeps={"weight": {"of": OF, "recipe.weight": [1, 0.1]}})
    assert swept.searched[f"{OF}-tuned-s3"][1] == f"{OF}-weight_1-s3" and f"{OF}-weight_1-s5" in swept.runs
    assert set(swept.search_arms) == {f"{OF}-weight_10"} and f"{OF}-tuned-s5" not in swept.searched


def test_where_every_seed_has_all_values_the_tuned_runs_are_chosen_not_trained(tmp_path: Path) -> None:
    swept = study(tmp_path, TUNE, sweeps={"weight": {"of": OF, "recipe.weight": [0.1, 1, 10]}})
    assert set(swept.searched) == {f"{OF}-tuned-s3", f"{OF}-tuned-s5"} and not swept.search_arms
    assert swept.searched[f"{OF}-tuned-s5"][10] == f"{OF}-weight_10-s5"
    assert swept.choice(f"{OF}-tuned-s5") == f"{OF}-tuned-s3" and all(
        row.endswith("-s3") for row, _ in judged(swept, {})
    )


def test_a_tuned_arm_has_all_seeds_whatever_its_own_arm_has(tmp_path: Path) -> None:
    arms = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())["arms"]
    arms[OF]["seeds"] = [3]
    mine = study(tmp_path, TUNE, arms=arms)
    assert mine.seeds_of(OF) == [3] and mine.seeds_of(f"{OF}-tuned") == [3, 5]
    assert mine.searched[f"{OF}-tuned-s3"][0.1] == f"{OF}-s3"


def test_a_search_at_each_seed_trains_nothing_beside_its_values(tmp_path: Path) -> None:
    mine = study(tmp_path, TUNE | {"seeds": "each"})
    assert set(mine.searched) == {f"{OF}-tuned-s3", f"{OF}-tuned-s5"}
    assert [mine.choice(f"{OF}-tuned-s{seed}") for seed in (3, 5)] == [*mine.searched]
    assert f"{OF}-weight_10-s5" in mine.runs


def test_a_tuned_run_has_the_chosen_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine, run = study(tmp_path, TUNE), f"{OF}-tuned-s5"
    with pytest.raises(UserError, match=r"tuned-s3\.json: the weight is not chosen yet; run: framer tune --study "):
        mine.train_job(run)
    planned = mine.planned_job(run)
    path = mine.paths.tuning(f"{OF}-tuned-s3")
    path.parent.mkdir(parents=True)
    for weight in (10.0, 1.0):
        path.write_text(json.dumps({"weight": weight}))
        job = mine.train_job(run)
        assert job.recipe is not None and job.recipe.weight == weight and mine.planned_job(run) == planned
    assert mine.train_job(f"{OF}-tuned-s3") == mine.train_job(f"{OF}-weight_1-s3")
    assert job.seeds == mine.train_job(f"{OF}-s5").seeds and mine.differences(f"{OF}-tuned", OF) == []
    path.write_text("{}")
    with pytest.raises(UserError, match="no choice of a weight; delete it and run"):
        mine.train_job(run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arms": ["pisa_sr-baseline"]}, "tune.arms: pisa_sr-baseline has no auxiliary loss"),
        ({"arms": ["pisa_sr-frame"]}, "tune.arms: unknown trained arm 'pisa_sr-frame', did you mean 'pisa_sr-framer'"),
        ({"by": None}, "tune.by: "),
        ({"by": "photos-heldout"}, "tune.by: unknown set 'photos-heldout'"),
        ({"by": "photos-crop128"}, "tune.by: photos-crop128 is a test set"),
        ({"by": "photos"}, "tune.by: photos has no pairs of LR and HR"),
        ({"weight": [1]}, "tune.weight: "),
        ({"weight": [0, 1]}, "tune.weight.0: "),
        ({"weight": [1, 1]}, "tune.weight: 1 stands after 1; list increasing values"),
        ({"weight": [0.1, 0.2000001, 0.2000002]}, "tune.weight: 0.2000002 differs too little from another value"),
        ({"weight": [10, 1]}, "tune.weight: 1 stands after 10; list increasing values"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as error:
        study(tmp_path, {key: value for key, value in (TUNE | change).items() if value is not None})
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'mine.yaml'}: ") and words in message and "\n" not in message


def test_the_photographs_must_be_held_out(tmp_path: Path) -> None:
    smoke = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    with pytest.raises(UserError, match="is of the photographs of photos, which is trained on"):
        study(tmp_path, TUNE, backbones=smoke["backbones"])
    with pytest.raises(UserError, match="is of the photographs of the test set free-photos-crop128"):
        study(tmp_path, TUNE | {"by": "free-photos-pisa_sr"}, sets=["photos-crop128", "free-photos-crop128"])
    with pytest.raises(UserError, match="metrics: tune judges by psnr; add it"):
        study(tmp_path, TUNE, metrics=["ssim"])


def test_a_name_that_the_search_needs_is_free(tmp_path: Path) -> None:
    arms = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())["arms"]
    with pytest.raises(UserError, match=f"arms.{OF}-tuned: .*is the name of a row of the search; rename the arm"):
        study(tmp_path, TUNE, arms=arms | {f"{OF}-tuned": {"label": "Mine"}})


def test_what_is_chosen_among_is_in_the_digest_of_a_search(tmp_path: Path) -> None:
    run, backbones = f"{OF}-tuned-s3", yaml.safe_load((ROOT / "config/smoke.yaml").read_text())["backbones"]
    before = study(tmp_path, TUNE).search_digest(run)
    assert (
        study(tmp_path, TUNE).search_digest(run)
        == before
        != study(tmp_path, TUNE | {"weight": [0.1, 1, 5]}).search_digest(run)
    )
    for backbone in backbones.values():
        backbone["data"]["sets"] = ["free-photos"]
    backbones["pisa_sr"]["train"]["pixel"]["steps"] += 1
    assert study(tmp_path, TUNE, backbones=backbones).search_digest(run) != before
