from pathlib import Path

import pytest
from fresh_clone import copy_workflow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a fresh clone has of the workflow, without data and results."""
    root = tmp_path / "clone"
    copy_workflow(root)
    return root
