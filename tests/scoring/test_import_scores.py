"""Logs that others publish, in OSEDiff's format and as CSV."""

import csv
import json
from pathlib import Path

import pytest

from framer.cli import main
from framer.errors import UserError
from framer.provenance.lock import exclusive
from framer.scoring.import_scores import import_scores

ORIGIN = {"label": "OSEDiff", "source": "its authors' log"}
LOG = """24-10-23 17:28:54.191 - INFO: ===== Configuration =====
24-10-23 17:29:03.278 - INFO: results/a.png | PSNR: 25.793726; SSIM: 0.851268; MANIQA: 0.607102 | Runtime: 1.06 sec
24-10-23 17:29:03.687 - INFO: results/b.png | PSNR: 24.045864; SSIM: 0.735231; MANIQA: 0.716501 | Runtime: 0.41 sec
24-10-23 17:29:51.394 - INFO:
===== Average Metrics for [results] =====
PSNR: 24.9198; SSIM: 0.7932; MANIQA: 0.6618 | FID: 123.493817 | FID Runtime: 6.79 sec
"""
TIDY = "image,metric,value\na.png,psnr,25.793726\nb.png,psnr,24.045864\n"
WIDE = "image,PSNR,SSIM\nb.png,24.045864,0.735231\na.png,25.793726,0.851268\n"


def imported(folder: Path, text: str, **options) -> tuple[list[tuple[str, str, float]], dict]:
    log = folder / "log"
    log.write_text(text)
    out = import_scores(log, "osediff", "realsr-crop128", "osediff", ORIGIN, folder=folder / "published", **options)
    assert out == folder / "published" / "osediff" / "realsr-crop128" / "osediff.csv"
    with out.open(newline="") as file:
        rows = [(row["image"], row["metric"], float(row["value"])) for row in csv.DictReader(file)]
    return rows, json.loads(out.with_suffix(".json").read_text())


@pytest.mark.parametrize("name", ["osediff.csv", "osediff.json"])
def test_files_of_others_are_kept_and_other_writers_waited_for(tmp_path: Path, name: str):
    folder = tmp_path / "published" / "osediff" / "realsr-crop128"
    folder.mkdir(parents=True)
    (folder / name).write_text("{}")
    with pytest.raises(UserError) as error:
        imported(tmp_path, TIDY)
    assert (error.value.code, error.value.path) == ("refused", str(folder / name))
    assert [path.name for path in folder.iterdir()] == [name]
    (folder / name).unlink()
    with exclusive(folder / f".{name}.lock", folder), pytest.raises(UserError) as error:
        imported(tmp_path, TIDY)
    assert error.value.code == "busy"
    first = imported(tmp_path, TIDY)
    assert imported(tmp_path, TIDY) == first, "it is ours"


def test_osediffs_log(tmp_path: Path):
    rows, sidecar = imported(tmp_path, LOG, definitions={"maniqa": "maniqa@pipal,random20"})
    assert rows[:3] == [("a.png", "psnr", 25.793726), ("a.png", "ssim", 0.851268), ("a.png", "maniqa", 0.607102)]
    assert rows[-1] == ("*", "fid", 123.493817)
    assert sidecar["metrics"]["psnr"] == "psnr@y-bt601-limited,c0"
    assert sidecar["metrics"]["maniqa"] == "maniqa@pipal,random20"
    assert (sidecar["label"], sidecar["source"]) == tuple(ORIGIN.values())
    assert set(sidecar["images"]) == {"a.png", "b.png"}


def test_csv(tmp_path: Path):
    assert imported(tmp_path, TIDY)[0] == [("a.png", "psnr", 25.793726), ("b.png", "psnr", 24.045864)]
    assert imported(tmp_path, WIDE)[0][:2] == [("a.png", "psnr", 25.793726), ("a.png", "ssim", 0.851268)]
    assert {metric for _, metric, _ in imported(tmp_path, WIDE, metrics=["ssim"])[0]} == {"ssim"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither OSEDiff's log nor a CSV"),
        ("image,metric,value\n", "holds no scores"),
        ("name,psnr\na,1\n", "whose first column is image"),
        ("image,psnr,ssim,psnr\na.png,1,0.5,2\n", "line 1: column 'psnr' is repeated"),
        ("image,PSNR,psnr\na.png,1,2\n", "line 1: column 'psnr' is repeated"),
        ("image,metric,value,value\na.png,psnr,1,2\n", "line 1: column 'value' is repeated"),
        (TIDY + "a.jpg,psnr,1\n", "a.jpg and a.png have one stem"),
        (LOG.replace("b.png", "a.bmp"), "a.bmp and a.png have one stem"),
        (LOG.replace("SSIM: 0.85", "PSNR: 0.85"), "line 2: psnr of a.png is repeated"),
        (TIDY + "a.png,psnr,1\n", "line 4: psnr of a.png is repeated"),
        (TIDY.replace("24.045864", "high"), "line 3: 'high' is not a finite number"),
        (TIDY.replace("24.045864", "nan"), "line 3: 'nan' is not a finite number"),
        (TIDY.replace("b.png,psnr,24.045864", "b.png,psnr"), "line 3: not as many fields"),
        (TIDY + "a.png,ssim,0.5\n", "no ssim of b.png"),
        (TIDY.replace("psnr", "psnrr"), "did you mean 'psnr'?"),
        ("\n".join(line for line in LOG.splitlines() if "b.png" not in line), "is not that of its 1 images"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, message: str):
    with pytest.raises(UserError) as error:
        imported(tmp_path, text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "published").exists()


def test_the_command(tmp_path: Path, capsys):
    (tmp_path / "log.csv").write_text(TIDY)
    command = ["import-scores", str(tmp_path / "log.csv"), "--set", "realsr-crop128", "--protocol", "osediff"]
    command += ["--label", "Mine", "--source", "me", "--out", str(tmp_path / "published")]
    assert main([*command, "--method", "mine"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "published/mine/realsr-crop128/osediff.csv")
    assert main([*command, "--method", "../mine"]) == 2
    assert main([*command, "--method", "mine", "--definition", "ssim=other"]) == 2
    assert "ssim is not among the scores" in capsys.readouterr().err
    assert main([*command, "--method", "mine", "--metrics", "psnr,psnr"]) == 2
    assert "metric 'psnr' is named twice" in capsys.readouterr().err
    assert main([*command, "--method", "mine", "--definition", "psnr=one", "--definition", "psnr=two"]) == 2
    assert "--definition: psnr is named twice, as one and as two" in capsys.readouterr().err
