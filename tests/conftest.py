import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a fresh clone has of the workflow, without data and results."""
    root = tmp_path / "clone"
    for name in ("workflow", "config", "slurm"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, root / name)
    for name in ("datasets", "weights"):
        (root / name).mkdir()
        for path in (ROOT / name).glob("*.yaml"):
            shutil.copy(path, root / name / path.name)
    return root
