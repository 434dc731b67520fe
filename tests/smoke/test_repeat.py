"""The smoke study, run a second time from clean: the same bytes."""

import subprocess
import sys
from pathlib import Path


def test_two_runs_from_clean_give_the_same_scores(results: Path, clone: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--config", "study=smoke"]
    subprocess.run(command, cwd=clone, check=True)

    first = {path.relative_to(results): path.read_bytes() for path in results.glob("scores/**/*.*")}
    again = clone / "results" / "smoke"
    second = {path.relative_to(again): path.read_bytes() for path in again.glob("scores/**/*.*")}
    assert len(first) >= 14
    assert second == first
