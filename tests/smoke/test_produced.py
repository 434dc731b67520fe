"""What the smoke study made is what it promises. Numbers are taken from the files it wrote, and from nothing else."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from framer.data.images import read_rgb
from framer.provenance.cards import read_card, verify_payload
from framer.scoring import psnr_ssim
from framer.study.layout import TINY_BASES
from tests.fixtures.clone import ROOT

SET = "photos-crop128"
PISA_SR = ["pisa_sr-baseline-s0", "pisa_sr-framer-s0"]
Y = {"test_y_channel": True, "color_space": "ycbcr"}
DIT4SR = ["dit4sr-baseline-s0", "dit4sr-framer-s0"]


def psnr(results: Path, row: str) -> float:
    with (results / "scores" / row / SET / "osediff.csv").open() as file:
        values = [float(line["value"]) for line in csv.DictReader(file) if line["metric"] == "psnr"]
    assert len(values) >= 12
    return fmean(values)


def heldout(folder: Path) -> list[float]:
    with (folder / "heldout.csv").open() as file:
        return [float(line["loss"]) for line in csv.DictReader(file)]


@pytest.mark.parametrize("row", PISA_SR)
def test_pisa_sr_beats_bicubic(results: Path, row: str) -> None:
    assert psnr(results, row) >= psnr(results, "bicubic") + 0.3


def psnr_of(results: Path, image: Callable[[Path], NDArray[np.uint8]]) -> float:
    """PSNR of any other image that is made of the bicubic one."""
    hr = results.parents[1] / "datasets" / SET / "HR"
    paths = sorted((results / "images/bicubic" / SET).glob("*.png"))
    return fmean(psnr_ssim.psnr(image(path), read_rgb(hr / path.name), **Y) for path in paths)


@pytest.mark.parametrize("row", PISA_SR)
def test_pisa_sr_beats_the_best_blur(results: Path, row: str) -> None:
    """A blur removes noise too: the one that is best on the test images themselves must not do as well."""

    def blurred(sigma: float) -> Callable[[Path], NDArray[np.uint8]]:
        return lambda path: gaussian_filter(read_rgb(path).astype(float), (sigma, sigma, 0)).round().astype(np.uint8)

    best = max(psnr_of(results, blurred(sigma)) for sigma in (2.0, 2.5, 3.0, 3.5, 4.0, 4.5))
    assert psnr(results, row) > best > psnr(results, "bicubic")


@pytest.mark.parametrize("row", DIT4SR)
def test_dit4sr_beats_a_grey_card(results: Path, row: str) -> None:
    """Sampling starts from noise: it must have found more of the image than its mean."""
    assert psnr(results, row) >= psnr_of(results, lambda path: np.full_like(read_rgb(path), 128)) + 1.0


@pytest.mark.parametrize("run", DIT4SR)
def test_the_held_out_loss_of_dit4sr_falls_by_half(results: Path, run: str) -> None:
    """From random weights. How little a base without an LR stream knows of an image is in the first value of a run."""
    untrained, (start, *_, end) = heldout(results / "runs" / "dit4sr-untrained-s0")[0], heldout(results / "runs" / run)
    assert end < start < untrained
    assert end <= 0.5 * untrained


@pytest.mark.parametrize("row", DIT4SR)
def test_trained_dit4sr_beats_untrained(results: Path, row: str) -> None:
    assert psnr(results, row) >= psnr(results, "dit4sr-untrained-s0") + 1.0


def test_dit4sr_uses_its_lr_stream(results: Path) -> None:
    assert psnr(results, "dit4sr-baseline-s0") >= psnr(results, "dit4sr-blank-s0") + 0.5


def test_all_arms_of_a_backbone_start_from_one_base(results: Path) -> None:
    for backbone, runs in {"pisa_sr": PISA_SR, "dit4sr": DIT4SR}.items():
        base = ROOT / TINY_BASES / backbone
        card = read_card(base, "base")
        verify_payload(base, card)
        for run in runs:
            started = read_card(results / "runs" / run, "run")
            verify_payload(results / "runs" / run, started)
            assert card["payload"]["model.safetensors"] in json.dumps(started["base"])


def test_restored_images_are_four_times_their_input(results: Path) -> None:
    inputs = sorted((results.parents[1] / "datasets" / SET / "LR").glob("*.png"))
    assert len({path.stem.split("_")[0].split("-")[0] for path in inputs}) >= 4, "four held-out photographs"
    for row in ("bicubic", *PISA_SR, *DIT4SR):
        for path in inputs:
            height, width, _ = read_rgb(path).shape
            restored = read_rgb(results / "images" / row / SET / f"{path.stem}.png")
            assert restored.shape == (4 * height, 4 * width, 3)


def test_the_table_shows_the_means_of_the_scores(results: Path) -> None:
    text = (results / "tables" / "main.md").read_text()
    frame = pd.read_csv(results / "tables" / "main.csv").set_index(["arm", "metric"])
    for row in ("bicubic", *PISA_SR, *DIT4SR):
        mean = psnr(results, row)
        assert frame.loc[(row.removesuffix("-s0"), "psnr"), "mean"] == pytest.approx(mean, abs=1e-9)
        assert f"{mean:.2f}" in text
    for metric in ("maniqa", "musiq"):
        cell = frame.loc[("pisa_sr-framer", metric)]
        if pd.isna(cell["mean"]):
            assert "weights" in cell["reason"]
    assert r"\begin{tabular}" in (results / "tables" / "main.tex").read_text()


def test_the_report_needs_no_network(results: Path) -> None:
    text = (results / "report.html").read_text()
    assert len(text) < 10_000_000
    for reference in ('src="http', 'href="http', "url(http", "@import"):
        assert reference not in text
