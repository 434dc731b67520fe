import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from framer.errors import UserError
from framer.scoring import load_scores, score
from framer.scoring.protocols import Protocol
from framer.scoring.score_file import write_scores
from framer.scoring.scorer import one_thread

COLUMNS = ["image", "metric", "value", "id", "protocol", "reason"]


def test_scores_are_those_of_the_file(pairs: tuple[Path, Path], weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    frame = score(*map(str, pairs), metrics=["psnr", "lpips", "ssim"], protocol="osediff", out=str(out))
    assert list(frame.columns) == COLUMNS
    with out.open(newline="") as file:
        rows = [(row["image"], row["metric"], float(row["value"])) for row in csv.DictReader(file)]
    computed = frame[frame["reason"].isna()]
    assert list(computed[COLUMNS[:3]].itertuples(index=False, name=None)) == rows

    sidecar = json.loads(out.with_suffix(".json").read_text())
    assert set(frame["protocol"]) == {"osediff"}
    assert dict(zip(frame["metric"], frame["id"], strict=True)) == sidecar["metrics"]
    (missing,) = frame[frame["value"].isna()].itertuples()
    assert (missing.image, missing.metric, missing.reason) == ("*", "lpips", sidecar["unavailable"]["lpips"])
    means = frame.groupby("metric")["value"].mean()
    assert math.isnan(means["lpips"])
    assert means["psnr"] == pytest.approx(sum(v for _, name, v in rows if name == "psnr") / 3)

    pd.testing.assert_frame_equal(load_scores(out), frame)


def test_without_out_nothing_is_kept(pairs: tuple[Path, Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    frame = score(*pairs, metrics=["psnr"], protocol="framer", threads=2)
    assert list(frame["image"]) == ["image_0.png", "image_1.png", "image_2.png"]
    assert sorted(tmp_path.rglob("*")) == before


def test_without_hr_the_reason_is_in_its_row(pairs: tuple[Path, Path]) -> None:
    frame = score(pairs[0], metrics=["psnr"], protocol="framer")
    (row,) = frame.itertuples()
    assert (row.image, row.metric, row.id) == ("*", "psnr", "psnr@rgb,c0")
    assert math.isnan(row.value) and "HR" in row.reason
    assert frame["value"].dtype == "float64"


def test_an_edited_file_is_refused(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    score(*pairs, metrics=["psnr"], protocol="framer", out=out)
    out.write_text(out.read_text() + "image_2.png,ssim,1.0\n")
    with pytest.raises(UserError) as error:
        load_scores(out)
    assert (error.value.path, error.value.code) == (str(out), "mismatch")


def test_a_metric_of_the_whole_set_has_one_row(tmp_path: Path) -> None:
    images = {"b.png": {"sr": "0"}, "a.png": {"sr": "1"}}
    rows = [("a.png", "psnr", 20.5), ("b.png", "psnr", 30.25), ("*", "fid", 101.5)]
    ids = {"psnr": "psnr@rgb,c0", "fid": "fid@inception,clean"}
    write_scores(tmp_path / "s.csv", rows, {"protocol": "own", "metrics": ids, "unavailable": {}, "images": images})
    frame = load_scores(tmp_path / "s.csv").set_index(["metric", "image"])["value"]
    assert frame.to_dict() == {(metric, image): value for image, metric, value in rows}


def test_psnr_and_ssim_need_no_torch(pairs: tuple[Path, Path]) -> None:
    code = f"""
import sys
from framer.scoring import load_scores, score
assert "torch" not in sys.modules
score({str(pairs[0])!r}, {str(pairs[1])!r}, metrics=["psnr", "ssim"], protocol="framer")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_gets_its_number_of_threads_back() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with pytest.raises(KeyError), one_thread(Protocol.named("framer").select(["psnr", "niqe"])):
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
