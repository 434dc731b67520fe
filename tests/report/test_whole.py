"""A study of the paper's size: its tables are made from scores alone, each read once, and fit a terminal and a page."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
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


RENDER = """
import json, sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from framer.cli import main
assert main(["tables", "--study", "config/paper.yaml", "--out", "tables"]) == 0
assert "torch" not in sys.modules
print(json.dumps(opened))
"""


@pytest.fixture(scope="module")
def opened(whole: Path) -> Counter[str]:
    """How often `framer tables` opens each file, in a process that has no torch; the tables are there then."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", RENDER], cwd=whole, check=True, env=environment, stdout=subprocess.PIPE
    )
    return Counter(json.loads(done.stdout.splitlines()[-1]))


def test_tables_of_the_whole_paper_read_each_score_once_and_no_image(whole: Path, opened: Counter[str]):
    scores = {str(path.relative_to(whole)) for path in whole.glob("results/paper/scores/*/*/*.csv")}
    assert len(scores) > 300
    assert {name: opened[name] for name in scores} == dict.fromkeys(scores, 1)
    assert not [name for name in opened if name.endswith((".png", ".safetensors"))]


def test_the_main_table_and_the_ablations_fit_a_terminal(whole: Path, opened: Counter[str]):
    for name in ("main", "ablation"):
        rows = [line for line in (whole / "tables" / f"{name}.md").read_text().splitlines() if line.startswith("|")]
        assert len(rows) > 50
        assert max(map(len, rows)) <= 120


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_of_the_whole_paper_fits_its_pages(whole: Path, opened: Counter[str]):
    inputs = "\n".join(rf"\input{{tables/{name}.tex}}\clearpage" for name in TABLES)
    text = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}x{inputs}\end{{document}}"
    (whole / "paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=whole, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "too large" not in done.stdout


def test_every_method_of_the_paper_is_a_row(whole: Path, opened: Counter[str]):
    with (ROOT / "config" / "paper.yaml").open() as file:
        labels = [arm["label"] for arm in yaml.safe_load(file)["arms"].values()]
    text = (whole / "tables" / "main.md").read_text()
    assert all(f"| {label} " in text for label in labels)
