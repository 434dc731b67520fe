import csv
import json
import math
import os
import re
import shutil
from pathlib import Path

import pytest

from framer.cli import main
from framer.errors import UserError
from framer.report.cells import Cell, find, tables
from framer.report.main_table import main_grid
from framer.report.render_table import markdown
from framer.report.significance import Tier
from framer.scoring.protocols import Protocol
from framer.scoring.score_file import METHODS, read_scores
from framer.study.study import Study
from tests.fixtures.finished_study import MANIFEST, write_scores


def cell(study: Study, arm: str, set_id: str, metric: str, missing: dict[str, str] | None = None) -> Cell:
    [table] = tables(study, missing or {})
    [found] = [c for c in table.cells if (c.arm, c.set, c.metric.name) == (arm, set_id, metric)]
    return found


def scores_of(study: Study, row: str, set_id: str = "pairs-a") -> Path:
    return study.out / "scores" / row / set_id / "osediff.csv"


def test_mean_over_images_then_seeds(study: Study):
    found = cell(study, "pisa_sr-baseline", "pairs-b", "psnr")
    assert (found.mean, found.n_images, found.n_seeds) == (pytest.approx(25.25), 8, 2)
    assert found.text == "25.25"


def test_a_method_without_training_has_one_row(study: Study):
    assert cell(study, "bicubic", "pairs-a", "psnr").n_seeds == 1


def test_marks_are_of_tests_and_controls_have_none(study: Study):
    """0.002 dB on each of eight images is a difference, equal SSIM is none. The control competes not."""
    marks = {arm: cell(study, arm, "pairs-a", "psnr").tier for arm in study.config.arms}
    assert marks == {
        "bicubic": Tier.NONE,
        "pisa_sr-baseline": Tier.BEST,
        "pisa_sr-framer": Tier.NEXT,
        "pisa_sr-blank": Tier.NONE,
    }
    assert all(cell(study, arm, "pairs-a", "ssim").tier is Tier.BEST for arm in list(study.config.arms)[:3])


def test_lower_is_better_for_lpips(study: Study):
    for row, value in {"bicubic": 0.4, "pisa_sr-framer-s0": 0.2, "pisa_sr-framer-s1": 0.2}.items():
        rewrite(study, row, value)
    for row in ("pisa_sr-baseline-s0", "pisa_sr-baseline-s1", "pisa_sr-blank-s0", "pisa_sr-blank-s1"):
        rewrite(study, row, 0.3)
    marks = [cell(study, arm, "pairs-a", "lpips").tier for arm in study.config.arms]
    assert marks == [Tier.NONE, Tier.NEXT, Tier.BEST, Tier.NONE]


def test_intervals_over_images_and_over_seeds(study: Study):
    found = cell(study, "pisa_sr-baseline", "pairs-a", "psnr")
    assert found.interval is not None
    assert found.interval.low < 28.25 < found.interval.high
    assert found.seeds_interval is not None
    half = 12.7062 * 0.5 / 2
    assert (found.seeds_interval.low, found.seeds_interval.high) == pytest.approx(
        (28.25 - half, 28.25 + half), abs=1e-4
    )
    assert cell(study, "bicubic", "pairs-a", "psnr").seeds_interval is None


def rewrite(study: Study, row: str, lpips: float) -> None:
    write_scores(
        scores_of(study, row), {f"im_{i}.png": {"psnr": 1.0, "ssim": 1.0, "lpips": lpips} for i in range(8)}, {}
    )


def test_rows_that_cannot_be_trained_say_why_and_need_no_scores(study: Study):
    for row in study.runs:
        scores_of(study, row).unlink()
    scores_of(study, "pisa_sr-blank-s0").unlink()
    missing = {"photos": "photos: put the images into datasets/photos/HR/"}
    for arm in ("pisa_sr-baseline", "pisa_sr-blank"):
        found = cell(study, arm, "pairs-a", "psnr", missing)
        assert (found.text, found.reason) == ("n/a", "training needs photos, to be downloaded manually")
    assert cell(study, "bicubic", "pairs-a", "psnr", missing).text == "27.00"


def test_reasons_are_numbered_by_first_use(study: Study):
    [table] = tables(study, {"pairs-b": "pairs-b is by hand"})
    assert main_grid(table, "T", []).notes == {"LPIPS needs weights_x": 1, "pairs-b is by hand": 2}
    found = cell(study, "bicubic", "pairs-b", "psnr", {"pairs-b": "pairs-b is by hand"})
    assert (found.mean, found.text, found.reason) == (None, "n/a", "pairs-b is by hand")


def test_controls_are_apart(study: Study):
    [table] = tables(study, {})
    for section in table.sections:
        assert [line.label for line in section.methods] == ["Bicubic", "Base & <b>line</b>", "FRAMER_U"]
        assert [line.label for line in section.controls] == ["Blank"]


def test_a_missing_score_file_is_named(study: Study):
    scores_of(study, "bicubic").unlink()
    with pytest.raises(UserError, match=r"bicubic/pairs-a/osediff\.csv: missing"):
        tables(study, {})


def test_an_edited_score_file_is_refused(study: Study):
    path = scores_of(study, "bicubic")
    path.write_text(path.read_text().replace("25.0", "35.0"))
    with pytest.raises(UserError, match=r"not the file that osediff\.json describes"):
        tables(study, {})


def test_definitions_are_never_mixed(study: Study):
    """A file that was scored when the name meant something else."""
    path = scores_of(study, "bicubic").with_suffix(".json")
    sidecar = json.loads(path.read_text())
    sidecar["metrics"]["psnr"] = "psnr@rgb,c0"
    path.write_text(json.dumps(sidecar))
    with pytest.raises(UserError, match=r"osediff\.csv: psnr: psnr@rgb,c0, where protocol 'osediff' now defines"):
        tables(study, {})


def test_rows_on_different_images_are_refused(study: Study):
    write_scores(scores_of(study, "bicubic"), {"im_0.png": {"psnr": 1.0, "ssim": 1.0}}, {"lpips": "none"})
    with pytest.raises(UserError, match=r"bicubic.*no scores for im_1, im_2, im_3, im_4, im_5, which other rows have"):
        tables(study, {})


def test_a_damaged_sidecar_is_named(study: Study):
    path = scores_of(study, "bicubic")
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(UserError, match=r"osediff\.json: not a sidecar"):
        read_scores(path, Protocol.named("osediff"))


def theirs(count: int = 8) -> Path:
    """Scores that somebody else published for the images of pairs-a."""
    path = METHODS / "theirs" / "pairs-a" / "osediff.csv"
    write_scores(path, {f"im_{i}.jpg": {"psnr": 30.0 + i, "ssim": 0.1} for i in range(count)}, {})
    sidecar = json.loads(path.with_suffix(".json").read_text()) | {"label": "Theirs", "source": "their log"}
    sidecar["metrics"]["ssim"] = "ssim@rgb,c0"
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def test_methods_of_others_stand_beside_the_studys(study: Study):
    """Their row carries its source; a metric by another definition is n/a, and never in the column."""
    path = theirs()
    [table] = tables(study, {})
    first, second = table.sections
    assert [line.label for line in first.methods][-1] == "Theirs"
    assert first.methods[-1].source == "Scores of Theirs as published: their log"
    assert "Theirs" not in [line.label for line in second.methods]
    psnr, ssim, lpips = first.methods[-1].cells
    assert (psnr.text, psnr.tier, ssim.text, lpips.text) == ("33.50", Tier.BEST, "n/a", "n/a")
    assert ssim.reason == "SSIM was published as ssim@rgb,c0, which is not ssim@y-bt601-limited,c0"
    assert re.search(r"\| Theirs \[\d\] ", markdown(main_grid(table, "t", [])))
    path.parents[1].rename(METHODS / "bicubic")
    with pytest.raises(UserError, match="bicubic is also an arm"):
        tables(study, {})


def test_methods_of_others_on_other_images_are_not_compared(study: Study):
    theirs(5)
    [table] = tables(study, {})
    cells = table.sections[0].methods[-1].cells
    assert {cell.reason for cell in cells} == {"Theirs: published for 5 other images"}


@pytest.mark.skipif("FRAMER_TEST_DATA" not in os.environ, reason="needs FRAMER_TEST_DATA")
@pytest.mark.parametrize("name", ["realsr_dev", "drealsr_dev"])
def test_published_scores_beside_bicubic(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From real images to a table: bicubic is restored and scored here, OSEDiff stands beside it as published."""
    data = Path(os.environ["FRAMER_TEST_DATA"], name)
    monkeypatch.chdir(tmp_path)
    Path("datasets").mkdir()
    count = len(list((data / "hr").iterdir()))
    Path("datasets/dev.yaml").write_text(MANIFEST.format(id="dev", count=count))
    Path("config").mkdir()
    arms = "arms: {bicubic: {label: Bicubic}}\nbackbones: {}\n"
    Path("config/real.yaml").write_text(
        f"title: T\nseed: 1\nsets: [dev]\nprotocols: [osediff]\nmetrics: [psnr, ssim]\n{arms}"
    )
    study = Study.load(Path("config/real.yaml"))
    images = study.out / "images" / "bicubic" / "dev"
    assert main(["restore", "--checkpoint", "bicubic", "--lr", str(data / "lr"), "--out", str(images)]) == 0
    out = study.out / "scores" / "bicubic" / "dev" / "osediff.csv"
    options = ["--hr", str(data / "hr"), "--metrics", "psnr,ssim", "--protocol", "osediff", "--out", str(out)]
    assert main(["score", "--sr", str(images), *options]) == 0
    log = data / "osediff_published_scores.csv"
    origin = [
        "--method",
        "osediff",
        "--set",
        "dev",
        "--protocol",
        "osediff",
        "--label",
        "OSEDiff",
        "--source",
        "its log",
    ]
    assert main(["import-scores", str(log), *origin]) == 0
    with log.open() as file:
        psnr = [float(row["value"]) for row in csv.DictReader(file) if row["metric"] == "psnr"]
    [table] = tables(study, {})
    bicubic, osediff = table.sections[0].methods
    assert (bicubic.label, osediff.label) == ("Bicubic", "OSEDiff")
    mean = math.fsum(psnr) / count
    assert osediff.cells[0].mean == pytest.approx(mean)
    assert bicubic.cells[0].mean is not None
    assert bicubic.cells[0].mean > mean + 1, "every diffusion model loses PSNR to bicubic"
    assert (bicubic.cells[0].tier, osediff.cells[0].tier) == (Tier.BEST, Tier.NEXT)
    assert bicubic.cells[0].n_images == osediff.cells[0].n_images == count


def test_a_cell_that_is_not_there_says_why(study: Study):
    with pytest.raises(UserError, match=r"pisa_sr-framer/pairs-a/osediff/lpips: n/a: LPIPS needs weights_x"):
        find(study, "pisa_sr-framer/pairs-a/osediff/lpips")
    with pytest.raises(UserError, match=r"unknown cell '\S+/psnrr', did you mean '\S+/psnr'"):
        find(study, "pisa_sr-framer/pairs-a/osediff/psnrr")
    shutil.rmtree(study.out / "scores")
    with pytest.raises(UserError, match=r"scores: nothing is scored yet; run: snakemake .* study=two"):
        find(study, "pisa_sr-framer/pairs-a/osediff/psnr")
