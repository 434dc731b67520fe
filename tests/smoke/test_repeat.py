"""A part of the smoke study, run a second time from clean: the same bytes."""

import subprocess
import sys
from pathlib import Path

ROWS = ("bicubic", "pisa_sr-framer-s0", "dit4sr-framer-s0")
"""With all that they hang on: data, both bases, both backbones with FRAMER. The others take as long again."""


def test_two_runs_from_clean_give_the_same_scores(results: Path, clone: Path) -> None:
    files = [f"scores/{row}/photos-crop128/osediff.{kind}" for row in ROWS for kind in ("csv", "json")]
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--config", "study=smoke", "--"]
    subprocess.run([*command, *(f"results/smoke/{file}" for file in files)], cwd=clone, check=True)
    for file in files:
        assert (clone / "results/smoke" / file).read_bytes() == (results / file).read_bytes(), file
