from pathlib import Path

import pytest

from tests.fixtures.clone import ROOT


@pytest.fixture(scope="session")
def results() -> Path:
    """What `make smoke` made."""
    folder = ROOT / "results" / "smoke"
    if not (folder / "report.html").is_file():
        pytest.skip("no results/smoke: run make smoke first")
    return folder
