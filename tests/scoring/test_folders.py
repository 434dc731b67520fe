import csv
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from framer.cli import main
from framer.errors import UserError
from framer.scoring import psnr_ssim, scorer
from framer.scoring.folders import Summary, Task, score_folders
from framer.scoring.protocols import Protocol
from framer.weights import store
from framer.weights.manifest import WeightsManifest
from tests.fixtures.writers import held

LPIPS, NIQE, MANIQA, MUSIQ = Protocol.named("osediff").select(["lpips", "niqe", "maniqa", "musiq"])
[PARAMETERS] = (file.path for file in WeightsManifest.load("niqe").files)
"""As published: a clone that fetched others from a package has these nowhere."""


def score(sr: Path, hr: Path | None, metrics: list[str], protocol: str, out: Path, threads: int = 1) -> Summary:
    return score_folders([Task(sr, hr, {protocol: out})], metrics, threads, progress=False)[0]


def read(path: Path) -> list[tuple[str, str, float]]:
    with path.open(newline="") as file:
        return [(row["image"], row["metric"], float(row["value"])) for row in csv.DictReader(file)]


def test_rows_and_sidecar(pairs: tuple[Path, Path], weights: Path, tmp_path: Path):
    sr, hr = pairs
    out = tmp_path / "scores" / "osediff.csv"
    score(sr, hr, ["lpips", "ssim", "psnr"], "osediff", out)

    rows = read(out)
    assert [row[:2] for row in rows] == [(f"image_{i}.png", name) for i in range(3) for name in ("psnr", "ssim")]
    first = [np.asarray(Image.open(folder / "image_0.png")) for folder in (sr, hr)]
    options = {"test_y_channel": True, "color_space": "ycbcr"}
    assert rows[0][2] == psnr_ssim.psnr(*first, **options)
    assert rows[1][2] == psnr_ssim.ssim(*first, **options)

    sidecar = json.loads(out.with_suffix(".json").read_text())
    assert sidecar["protocol"] == "osediff"
    assert sidecar["metrics"]["ssim"] == "ssim@y-bt601-limited,c0"
    assert list(sidecar["unavailable"]) == ["lpips"]
    assert "alexnet-owt-7be5be79.pth" in sidecar["unavailable"]["lpips"]
    assert sidecar["count"] == 3
    assert sidecar["scores"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert set(sidecar["versions"]) == {"framer", "numpy", "pillow"}
    assert sidecar["images"]["image_2.png"] == {
        "sr": hashlib.sha256((sr / "image_2.png").read_bytes()).hexdigest(),
        "hr": hashlib.sha256((hr / "image_2.png").read_bytes()).hexdigest(),
    }
    assert str(tmp_path) not in out.with_suffix(".json").read_text()


def test_two_runs_give_the_same_bytes(pairs: tuple[Path, Path], weights: Path, tmp_path: Path):
    outs = [tmp_path / "a" / "s.csv", tmp_path / "b" / "s.csv"]
    for out in outs:
        score(*pairs, ["psnr", "ssim", "niqe"], "framer", out)
    for suffix in (".csv", ".json"):
        one, other = (out.with_suffix(suffix).read_bytes() for out in outs)
        assert one == other
    assert sorted(path.name for path in outs[0].parent.glob("[!.]*")) == ["s.csv", "s.json"]


def test_without_hr_only_what_needs_none(pairs: tuple[Path, Path], weights: Path, tmp_path: Path):
    score(pairs[0], None, ["psnr", "niqe"], "osediff", tmp_path / "s.csv")
    assert read(tmp_path / "s.csv") == []
    sidecar = json.loads((tmp_path / "s.json").read_text())
    assert "HR" in sidecar["unavailable"]["psnr"]
    assert "niqe_modelparameters.mat" in sidecar["unavailable"]["niqe"]
    assert "hr" not in sidecar["images"]["image_0.png"]


def test_niqe_is_scored_once_its_parameters_are_there(pairs: tuple[Path, Path], weights: Path, tmp_path: Path):
    """With made-up parameters: the path is tested here, the values on published images below."""
    pytest.importorskip("pyiqa")
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(36, 36))
    model = {"mu_prisparam": rng.normal(size=(1, 36)), "cov_prisparam": spread @ spread.T + np.eye(36)}
    scipy.io.savemat(weights / PARAMETERS, model)
    small = np.asarray(Image.open(pairs[1] / "image_0.png"))
    (tmp_path / "large").mkdir()
    Image.fromarray(np.tile(small, (5, 2, 1))).save(tmp_path / "large" / "a.png")
    score(tmp_path / "large", None, ["niqe"], "osediff", tmp_path / "s.csv")
    [(image, metric, value)] = read(tmp_path / "s.csv")
    assert (image, metric) == ("a.png", "niqe")
    assert value > 0
    sidecar = json.loads((tmp_path / "s.json").read_text())
    assert {"torch", "pyiqa"} < set(sidecar["versions"])
    assert set(sidecar["weights"]) == {PARAMETERS}


def test_a_broken_image_leaves_no_scores(pairs: tuple[Path, Path], weights: Path, tmp_path: Path):
    last = pairs[0] / "image_2.png"
    last.write_bytes(last.read_bytes()[:200])
    for threads in (1, 2):
        with pytest.raises(UserError, match=r"image_2\.png") as error:
            score(*pairs, ["psnr"], "osediff", tmp_path / "s.csv", threads)
        assert "\n" not in str(error.value)
        assert not list(tmp_path.glob("s.*"))


def test_a_value_that_is_no_number_names_its_image(pairs: tuple[Path, Path], tmp_path: Path, monkeypatch):
    monkeypatch.setitem(psnr_ssim.FUNCTIONS, "psnr", lambda sr, hr, **options: float("nan"))
    with pytest.raises(UserError, match=r"SR/image_0\.png: psnr@rgb,c0 is nan; look at the image"):
        score(*pairs, ["psnr"], "framer", tmp_path / "s.csv")
    assert not list(tmp_path.glob("s.*"))


def command_line(pairs: tuple[Path, Path], out: Path, metrics: str = "psnr") -> list[str]:
    sr, hr = map(str, pairs)
    return ["score", "--sr", sr, "--hr", hr, "--metrics", metrics, "--protocol", "osediff", "--out", str(out)]


def test_a_table_beside_a_sidecar_is_kept(pairs: tuple[Path, Path], tmp_path: Path, capsys):
    """Someone has put another file in the place of the scores."""
    assert main(command_line(pairs, tmp_path / "s.csv")) == 0
    assert main(command_line(pairs, tmp_path / "s.csv")) == 0, "scores are replaced by scores"
    (tmp_path / "s.csv").write_text("name,price\n")
    assert main(command_line(pairs, tmp_path / "s.csv")) == 2
    assert (tmp_path / "s.csv").read_text() == "name,price\n"


@pytest.mark.parametrize("name", ["s.csv", "s.json"])
def test_files_of_others_are_kept(pairs: tuple[Path, Path], tmp_path: Path, name: str, capsys):
    (tmp_path / name).write_text('{"mine": 1}')
    assert main(command_line(pairs, tmp_path / "s.csv")) == 2
    assert str(tmp_path / name) in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.glob("s.*")} == {name: '{"mine": 1}'}


def test_of_two_processes_at_once_one_writes_the_scores(pairs: tuple[Path, Path], tmp_path: Path, capsys):
    out = tmp_path / "s.csv"
    assert main(command_line(pairs, tmp_path / "alone.csv")) == 0
    with held(command_line(pairs, out), "framer.scoring.folders", "_Plan.take") as pid:
        assert main(command_line(pairs, out)) == 2
        assert f"process {pid} on " in capsys.readouterr().err
        assert not out.exists()
    for suffix in (".csv", ".json"):
        assert out.with_suffix(suffix).read_bytes() == (tmp_path / "alone").with_suffix(suffix).read_bytes()


def test_any_number_of_processes_gives_the_same_bytes(pairs: tuple[Path, Path], weights: Path, tmp_path: Path):
    for threads in (1, 2, 5):
        score(*pairs, ["psnr", "ssim"], "seesr", tmp_path / str(threads) / "s.csv", threads)
    for suffix in ("csv", "json"):
        assert len({(tmp_path / name / f"s.{suffix}").read_bytes() for name in "125"}) == 1


def test_a_killed_job_goes_on_where_it_was(pairs: tuple[Path, Path], tmp_path: Path, monkeypatch):
    once, out = tmp_path / "once" / "s.csv", tmp_path / "again" / "s.csv"
    score(*pairs, ["psnr", "ssim"], "framer", once)
    real, seen = psnr_ssim.psnr, []

    def counted(*images: np.ndarray, **options: object) -> float:
        seen.append(images[0].shape)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(*images, **options)

    monkeypatch.setitem(psnr_ssim.FUNCTIONS, "psnr", counted)
    with pytest.raises(KeyboardInterrupt):
        score(*pairs, ["psnr", "ssim"], "framer", out)
    [journal] = out.parent.iterdir()
    # What another file, another protocol or half a line says is of no use.
    journal.write_text(journal.read_text()[:-9])
    score(*pairs, ["psnr", "ssim"], "framer", out)
    assert len(seen) == 3 + 2
    assert sorted(path.name for path in out.parent.iterdir()) == ["s.csv", "s.json"]
    for suffix in (".csv", ".json"):
        assert out.with_suffix(suffix).read_bytes() == once.with_suffix(suffix).read_bytes()


def test_weights_that_arrive_score_their_metric_alone(
    pairs: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch
):
    """The others are taken from the job before, to the same bytes as in one go."""
    pytest.importorskip("pyiqa")
    computed: list[tuple[str, ...]] = []
    score_unit = scorer.Scorer.score

    def counted(self, unit, images):
        computed.append(tuple(metric.name for metric in unit.metrics))
        return score_unit(self, unit, images)

    class Network:
        def __init__(self, metric):
            self.metric = metric

        def values(self, sr, hr):
            return [0.25] * len(sr)

    monkeypatch.setattr(scorer.Scorer, "score", counted)
    monkeypatch.setattr("framer.scoring.pyiqa_metrics.Network", Network)
    monkeypatch.setattr(store, "verified", lambda names: store.hashes(store.files(names)))
    out, metrics = tmp_path / "s.csv", ["psnr", "ssim", "musiq", "maniqa"]
    for arrives, expected in ((MUSIQ, ["psnr", "ssim", "musiq"]), (MANIQA, ["maniqa"])):
        (weights / store.files(arrives.weights)[0]).write_bytes(b"weights")
        computed.clear()
        score(*pairs, metrics, "osediff", out)
        assert computed == [tuple(expected)] * 3
    score(*pairs, metrics, "osediff", tmp_path / "once" / "s.csv")
    for suffix in (".csv", ".json"):
        assert out.with_suffix(suffix).read_bytes() == (tmp_path / "once" / "s").with_suffix(suffix).read_bytes()
    assert not list(tmp_path.glob(".s.*")), "nothing is missing: the next job computes all"


def test_a_journal_of_other_work_is_dropped(pairs: tuple[Path, Path], tmp_path: Path, monkeypatch):
    last, out = pairs[0] / "image_2.png", tmp_path / "s" / "s.csv"
    good = last.read_bytes()
    for protocol, change in (("framer", good), ("osediff", good), ("framer", (pairs[1] / "image_2.png").read_bytes())):
        last.write_bytes(good[:200])
        with pytest.raises(UserError):
            score(*pairs, ["psnr"], protocol, out)
        assert len(list(out.parent.iterdir())) == 1
        last.write_bytes(change)
    Image.open(pairs[1] / "image_0.png").save(pairs[0] / "image_0.png")
    score(*pairs, ["psnr"], "framer", out)
    values = {image: value for image, _, value in read(out)}
    assert values["image_0.png"] == values["image_2.png"] == pytest.approx(80)
    assert values["image_1.png"] < 40


def test_several_folders_in_one_go(pairs: tuple[Path, Path], weights: Path, tmp_path: Path):
    sr, hr = pairs
    outs = [{"osediff": tmp_path / f"{name}.csv"} for name in "abc"]
    tasks = [Task(sr, hr, outs[0]), Task(hr, None, outs[1]), Task(hr, hr, outs[2])]
    done = score_folders(tasks, ["psnr", "ssim"], threads=2, progress=False)
    assert [list(summary.means) for summary in done] == [["psnr", "ssim"], [], ["psnr", "ssim"]]
    assert done[2].means["psnr"] == pytest.approx(80)
    assert done[0].means["psnr"] == pytest.approx(statistics.mean(r[2] for r in read(tmp_path / "a.csv")[::2]))
    score(sr, hr, ["psnr", "ssim"], "osediff", tmp_path / "alone" / "a.csv")
    for suffix in ("csv", "json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / "alone" / f"a.{suffix}").read_bytes()
    with pytest.raises(UserError) as error:
        score_folders([tasks[0], tasks[0]], ["psnr"], progress=False)
    assert (error.value.path, error.value.code) == (str(tmp_path / "a.csv"), "conflict")


def test_the_command_says_what_came_of_it(pairs: tuple[Path, Path], weights: Path, tmp_path: Path, capsys):
    sr, hr, out = map(str, (*pairs, tmp_path / "s.csv"))
    command = ["score", "--sr", sr, "--hr", hr, "--out", out, "--protocol", "osediff", "--threads", "1"]
    assert main([*command, "--metrics", "psnr,musiq"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{out}: psnr 3") or printed.out.startswith(f"{out}: psnr 2")
    assert "framer: n/a: MUSIQ needs weights that are not on this machine" in printed.err
    before = Path(out).read_bytes()
    assert main([*command, "--metrics", "musiq"]) == 2  # the scores of before are not emptied
    assert Path(out).read_bytes() == before
    Path(out).unlink()
    capsys.readouterr()
    assert main([*command, "--metrics", "musiq"]) == 0
    assert capsys.readouterr().out == f"{out}: no metric could be computed\n"
    for wrong, words in [
        ([*command, "--metrics", "psnr", "--label", "Mine"], "--label: needs --source"),
        (["score", "--sr", sr, sr, *command[3:], "--metrics", "psnr"], "--out: 2 files are needed"),
        ([*command, "--metrics", "psnr", "--protocol", "osediff", "framer"], "--out: 2 files are needed"),
        ([*command, "--metrics", "psnr", "--protocol", "osediff", "osediff"], "--protocol: a protocol is named twice"),
    ]:
        assert main(wrong) == 2
        assert words in capsys.readouterr().err


def test_wrong_names_are_refused(pairs: tuple[Path, Path], tmp_path: Path):
    for metrics, protocol, out, message in [
        (["pnsr"], "osediff", "s.csv", "did you mean 'psnr'"),
        (["psnr"], "frame", "s.csv", "did you mean 'framer'"),
        (["psnr"], "framer", "s.json", "go to a .csv file"),
    ]:
        with pytest.raises(UserError, match=message):
            score(*pairs, metrics, protocol, tmp_path / out)


def test_psnr_and_ssim_need_no_torch(pairs: tuple[Path, Path], weights: Path, tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from framer.scoring.folders import Task, score_folders\n"
        f"task = Task(Path({str(pairs[0])!r}), Path({str(pairs[1])!r}), "
        f"{{'framer': Path({str(tmp_path / 's.csv')!r})}})\n"
        "score_folders([task], ['psnr', 'ssim', 'musiq'])\n"
        "assert 'torch' not in sys.modules and 'pyiqa' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PUBLISHED = os.environ.get("FRAMER_TEST_DATA")
WEIGHTS = os.environ.get("FRAMER_TEST_WEIGHTS")


@pytest.mark.skipif(not PUBLISHED, reason="FRAMER_TEST_DATA names no folder of published images")
@pytest.mark.parametrize("name", ["realsr", "drealsr"])
def test_published_scores_are_reproduced(name: str, weights: Path, tmp_path: Path):
    """OSEDiff's images and the per-image log that its authors published with them."""
    folder = Path(str(PUBLISHED)) / f"{name}_dev"
    metrics = ["psnr", "ssim"]
    if WEIGHTS:
        shutil.copy(Path(WEIGHTS) / "niqe_modelparameters.mat", weights / PARAMETERS)
        metrics.append("niqe")
    score(folder / "osediff", folder / "hr", metrics, "osediff", tmp_path / "s.csv")
    published = {row[:2]: row[2] for row in read(folder / "osediff_published_scores.csv")}
    errors: dict[str, list[float]] = {metric: [] for metric in metrics}
    for image, metric, value in read(tmp_path / "s.csv"):
        errors[metric].append(value - published[image, metric])
    assert max(map(abs, errors["psnr"])) < 1e-4
    assert max(map(abs, errors["ssim"])) < 1e-5
    if WEIGHTS:
        assert max(map(abs, errors["niqe"])) < 0.03
        assert statistics.median(map(abs, errors["niqe"])) < 4e-4
        assert abs(statistics.mean(errors["niqe"])) < 3e-3
