"""The smoke study, run a second time from clean: the same bytes."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_two_runs_from_clean_give_the_same_scores(results: Path, tmp_path: Path) -> None:
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "datasets").mkdir()
    for path in (ROOT / "datasets").glob("*.yaml"):
        shutil.copy(path, tmp_path / "datasets" / path.name)

    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--config", "study=smoke"]
    subprocess.run(command, cwd=tmp_path, check=True)

    first = {path.relative_to(results): path.read_bytes() for path in results.glob("scores/**/*.*")}
    again = tmp_path / "results" / "smoke"
    second = {path.relative_to(again): path.read_bytes() for path in again.glob("scores/**/*.*")}
    assert len(first) >= 14
    assert second == first
