"""What a fresh clone has of the workflow, without data and results; for tests and benchmarks."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def copy_workflow(root: Path) -> None:
    """Copy it into a folder, which may be there."""
    for name in ("workflow", "config", "slurm"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, root / name)
    for name in ("datasets", "weights"):
        (root / name).mkdir()
        for path in (ROOT / name).glob("*.yaml"):
            shutil.copy(path, root / name / path.name)
