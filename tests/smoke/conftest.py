from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def results() -> Path:
    """What `make smoke` made."""
    folder = ROOT / "results" / "smoke"
    if not (folder / "report.html").is_file():
        pytest.skip("no results/smoke: run make smoke first")
    return folder
