"""The choice of a search: the best score on the held-out pairs, and the chosen run file by file."""

import json
from pathlib import Path

import pytest

from framer.errors import UserError
from framer.provenance.cards import CARD, verify_payload, write_card
from framer.runs.tuning import best, take, tried
from framer.study.availability import judged
from framer.study.study import Study
from tests.fixtures.finished_study import write_scores
from tests.study.test_tuning import BY, OF, TUNE, study

RUN = f"{OF}-tuned-s3"


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose weights 0.1, 1 and 10 have a mean PSNR of 27, 29 and 29."""
    monkeypatch.chdir(tmp_path)
    mine = study(tmp_path, TUNE)
    for (run, name), mean in zip(judged(mine, {}), (27.0, 29.0, 29.0), strict=True):
        values = {f"im_{number}.png": {"psnr": mean + number - 1, "ssim": 0.5} for number in range(3)}
        write_scores(mine.paths.scores(run, name, "osediff"), values, {})
        folder = mine.paths.run(run)
        folder.mkdir(parents=True)
        for file in ("model.safetensors", "config.json", "log.csv", "heldout.csv"):
            (folder / file).write_text(f"{file} of {run}")
        write_card(folder, "run", ["model.safetensors", "config.json", "log.csv", "heldout.csv"], job=run)
    return mine


def test_the_highest_mean_is_chosen_and_of_equal_ones_the_smallest_weight(searched: Study) -> None:
    found = tried(searched, RUN)
    assert [(one.weight, one.score, one.images) for one in found] == [(0.1, 27, 3), (1, 29, 3), (10, 29, 3)]
    assert best(found).weight == 1


def test_the_chosen_run_is_the_tuned_one(searched: Study) -> None:
    out = searched.paths.run(RUN)
    for run, better in ((f"{OF}-weight_1-s3", None), (f"{OF}-s3", 40.0)):
        if better:
            values = {f"im_{number}.png": {"psnr": better, "ssim": 0.5} for number in range(3)}
            write_scores(searched.paths.scores(run, BY, "osediff"), values, {})
        chosen = take(searched, RUN, out)
        assert chosen.run == run and (out / CARD).read_bytes() == (searched.paths.run(run) / CARD).read_bytes()
        verify_payload(out, json.loads((out / CARD).read_text()))
        recorded = json.loads(searched.paths.tuning(RUN).read_text())
        assert recorded == {"run": run, "weight": chosen.weight}
        recipe = searched.train_job(f"{OF}-tuned-s5").recipe
        assert recipe is not None and recipe.weight == chosen.weight


def test_another_seed_takes_its_own_run_of_the_chosen_weight(searched: Study, tmp_path: Path) -> None:
    swept = study(tmp_path, TUNE, sweeps={"weight": {"of": OF, "recipe.weight": [0.1, 1, 10]}})
    folder = swept.paths.run(f"{OF}-weight_1-s5")
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("of seed 5")
    write_card(folder, "run", ["model.safetensors"])
    take(swept, f"{OF}-tuned-s5", swept.paths.run(f"{OF}-tuned-s5"))
    assert (swept.paths.run(f"{OF}-tuned-s5") / "model.safetensors").read_text() == "of seed 5"


def test_snapshots_stay_with_the_run_that_has_them(searched: Study) -> None:
    of = searched.paths.run(f"{OF}-weight_1-s3")
    card = json.loads((of / CARD).read_text())
    (of / CARD).write_text(json.dumps(card | {"snapshots": {"step-000001.safetensors": "0" * 64}}))
    take(searched, RUN, searched.paths.run(RUN))
    assert json.loads((searched.paths.run(RUN) / CARD).read_text()) == card


def test_mistakes_are_one_line(searched: Study) -> None:
    with pytest.raises(UserError) as error:
        take(searched, RUN, searched.paths.run(f"{OF}-s3"))
    assert (error.value.key, error.value.path) == ("--out", str(searched.paths.run(f"{OF}-s3")))
    with pytest.raises(UserError, match="unknown searched run"):
        tried(searched, f"{OF}-s3")
    (searched.paths.run(f"{OF}-weight_1-s3") / "log.csv").write_text("other")
    with pytest.raises(UserError, match="its sha256 is not the one in"):
        take(searched, RUN, searched.paths.run(RUN))
    assert not searched.paths.tuning(RUN).exists()
    searched.paths.scores(f"{OF}-s3", BY, "osediff").unlink()
    with pytest.raises(UserError, match="missing; run snakemake, or framer score"):
        tried(searched, RUN)
