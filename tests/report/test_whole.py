"""A study of the paper's size: its tables are made from scores alone in seconds, and fit a terminal and a page."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from framer.study.layout import TABLES
from framer.study.study import Study
from tests.fixtures.clone import ROOT
from tests.fixtures.finished_study import write_scores

IMAGES = {"realsr-crop128": 100, "drealsr-crop128": 93, "reallr200-full": 200, "reallq250": 250}
MEANS = {"psnr": 25.0, "ssim": 0.7, "lpips": 0.3, "niqe": 5.0, "maniqa": 0.5, "musiq": 65.0}
SECONDS = 5.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scores of `config/paper.yaml`, as far as they can be had without what others restored."""
    root = tmp_path_factory.mktemp("whole")
    for name in ("datasets", "weights", "config"):
        (root / name).symlink_to(ROOT / name)
    (root / "results").mkdir()
    (root / "results" / "published").symlink_to(ROOT / "results" / "published")
    study = Study.load(ROOT / "config" / "paper.yaml", ROOT / "datasets")
    rng = np.random.default_rng(0)
    base = {(name, metric): rng.normal(1, 0.1, n) for name, n in IMAGES.items() for metric in MEANS}
    for row, set_id in study.pairs:
        if row in study.supplied:
            continue
        without_hr = not study.manifests[set_id].paired
        lacking = {name: f"{name} needs HR images" for name in ("psnr", "ssim", "lpips") if without_hr}
        values = {
            metric: mean * (base[set_id, metric] + rng.normal(0.01 * rng.normal(), 0.02, IMAGES[set_id]))
            for metric, mean in MEANS.items()
            if metric not in lacking
        }
        images = {
            f"{i:03}.png": {metric: float(column[i]) for metric, column in values.items()}
            for i in range(IMAGES[set_id])
        }
        for protocol in study.config.protocols:
            write_scores(root / study.out / "scores" / row / set_id / f"{protocol}.csv", images, lacking, protocol)
    return root


def render(root: Path) -> float:
    """CPU seconds of `framer tables`, in a process that has no torch."""
    code = (
        "import sys; from framer.cli import main; code = main(sys.argv[1:]); sys.exit(code or 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "tables", "--study", "config/paper.yaml", "--out", "tables"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=root, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def seconds(whole: Path) -> float:
    """How long it takes, the best of three where others keep the machine busy; the tables lie there then."""
    best = render(whole)
    for _ in range(2):
        best = best if best < SECONDS else min(best, render(whole))
    return best


def test_tables_of_the_whole_paper_take_seconds_and_no_torch(seconds: float):
    assert seconds < SECONDS


def test_the_main_table_and_the_ablations_fit_a_terminal(whole: Path, seconds: float):
    for name in ("main", "ablation"):
        rows = [line for line in (whole / "tables" / f"{name}.md").read_text().splitlines() if line.startswith("|")]
        assert len(rows) > 50
        assert max(map(len, rows)) <= 120


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_of_the_whole_paper_fits_its_pages(whole: Path, seconds: float):
    inputs = "\n".join(rf"\input{{tables/{name}.tex}}\clearpage" for name in TABLES)
    text = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}x{inputs}\end{{document}}"
    (whole / "paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=whole, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "too large" not in done.stdout


def test_every_method_of_the_paper_is_a_row(whole: Path, seconds: float):
    with (ROOT / "config" / "paper.yaml").open() as file:
        labels = [arm["label"] for arm in yaml.safe_load(file)["arms"].values()]
    text = (whole / "tables" / "main.md").read_text()
    assert all(f"| {label} " in text for label in labels)
