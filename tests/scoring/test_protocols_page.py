"""The numbers of docs/protocols.md are those of the images that it names: restored and scored here once more."""

import os
from pathlib import Path

import pytest

from framer.inference.restore import restore
from framer.scoring.folders import Task, score_folders
from framer.scoring.protocols import PROTOCOLS
from tests.fixtures.clone import ROOT

DATA = os.environ.get("FRAMER_TEST_DATA")
PAGE = ROOT / "docs" / "protocols.md"
SETS = {"RealSR": "realsr_dev", "DRealSR": "drealsr_dev"}

pytestmark = pytest.mark.skipif(not DATA, reason="needs FRAMER_TEST_DATA")


def page() -> dict[tuple[str, str, str], list[str]]:
    """By set, method and metric: the number of each protocol, as printed."""
    lines = [line for line in PAGE.read_text().split("##")[0].splitlines() if line.startswith("|")]
    found, where = {}, ("", "")
    for line in lines[2:]:
        label, metric, *numbers = [cell.strip() for cell in line.strip("|").split("|")]
        if label:
            name, method = label.split(", ")
            where = (name, method)
        found[*where, metric] = numbers
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_page_says_what_is_measured(name: str, tmp_path: Path):
    folder = Path(str(DATA), SETS[name])
    restore("bicubic", folder / "lr", tmp_path / "bicubic", progress=False)
    images = {"OSEDiff": folder / "osediff", "bicubic": tmp_path / "bicubic"}
    printed = page()
    for number, protocol in enumerate(PROTOCOLS):
        tasks = [
            Task(sr, folder / "hr", {protocol: tmp_path / f"{method}-{protocol}.csv"}) for method, sr in images.items()
        ]
        for method, summary in zip(images, score_folders(tasks, ["psnr", "ssim"], progress=False), strict=True):
            for metric, digits in (("psnr", 2), ("ssim", 4)):
                assert printed[name, method, metric.upper()][number] == f"{summary.means[metric]:.{digits}f}"
