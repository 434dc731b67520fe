"""A study of a user's own pairs, written as the documents show it and run to its end, on real photographs."""

import csv
import os
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from framer.data.images import read_rgb
from tests.fixtures.real_esrgan import restored_by_ncnn, state_dict
from tests.fixtures.snakemake import snakemake
from tests.project.test_documents import blocks

DATA = os.environ.get("FRAMER_TEST_DATA")
STEMS = ("Canon_001_LR4", "Canon_006_LR4", "Nikon_001_LR4")
NEAR = {"psnr": 1e-5, "ssim": 1e-5, "lpips": 1e-3, "niqe": 2e-2}
"""How far a score may be from the published one; docs/scoring.md has the reasons."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA, reason="needs FRAMER_TEST_DATA")]


@pytest.fixture
def study(clone: Path) -> Path:
    """Three pairs, Real-ESRGAN's weights as a file of one's own, and the images that OSEDiff's authors published."""
    for folder in ("datasets", "weights"):
        (shown,) = (block for block in blocks("yaml") if f"# {folder}/mine.yaml" in block.text)
        (clone / folder / "mine.yaml").write_text(shown.text)
        (clone / folder / "mine").mkdir()
    for source, target in {
        "lr": "datasets/mine/LR",
        "hr": "datasets/mine/HR",
        "osediff": "supplied/osediff/mine",
    }.items():
        (clone / target).mkdir(parents=True)
        for stem in STEMS:
            shutil.copy(Path(str(DATA), "realsr_dev", source, f"{stem}.png"), clone / target)
    torch.save({"params_ema": state_dict()}, clone / "weights/mine/net.pth")
    config = {
        "title": "Three real pairs",
        "seed": 1,
        "threads": 1,
        "sets": ["mine"],
        "protocols": ["osediff", "framer"],
        "metrics": list(NEAR),
        "compare": [["osediff", "realesrgan"]],
        "arms": {
            "bicubic": {"label": "Bicubic"},
            "realesrgan": {"label": "Real-ESRGAN", "model": "spandrel", "checkpoint": "mine"},
            "osediff": {"label": "OSEDiff", "images": True, "source": {"repository": "github.com/cswry/OSEDiff"}},
        },
    }
    (clone / "config/mine.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return clone


def test_table_and_report_have_all_rows_and_the_published_scores(study: Path) -> None:
    done = snakemake(study, "--cores", "1", "--config", "study=mine", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stdout[-6000:]
    assert "n/a in the tables" not in done.stdout
    results = study / "results/mine"

    with (results / "tables/main.csv").open(newline="") as file:
        cells = {(row["arm"], row["protocol"], row["metric"]): float(row["mean"]) for row in csv.DictReader(file)}
    assert {key[:2] for key in cells} == {
        (arm, p) for arm in ("bicubic", "realesrgan", "osediff") for p in ("osediff", "framer")
    }
    with Path(str(DATA), "realsr_dev", "osediff_published_scores.csv").open(newline="") as file:
        published = [row for row in csv.DictReader(file) if Path(row["image"]).stem in STEMS]
    for metric, near in NEAR.items():
        scores = [float(row["value"]) for row in published if row["metric"] == metric]
        assert len(scores) == len(STEMS)
        assert cells["osediff", "osediff", metric] == pytest.approx(statistics.mean(scores), abs=near)
    assert "Real-ESRGAN" in (results / "report.html").read_text(encoding="utf-8")

    # What the graph restored is what another implementation makes of the same weights.
    lr = read_rgb(study / f"datasets/mine/LR/{STEMS[0]}.png")
    ours = read_rgb(results / f"images/realesrgan/mine/{STEMS[0]}.png")
    error = np.mean((ours.astype(float) - restored_by_ncnn(lr)) ** 2)
    assert error == 0 or 10 * np.log10(255**2 / error) > 45
