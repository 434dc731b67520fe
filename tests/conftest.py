from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.clone import ROOT, copy_workflow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a fresh clone has of the workflow, without data and results."""
    root = tmp_path / "clone"
    copy_workflow(root)
    return root


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """A folder with copies of the project's manifests, and no data."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    for manifest in (ROOT / "datasets").glob("*.yaml"):
        (folder / manifest.name).write_bytes(manifest.read_bytes())
    return folder


@pytest.fixture
def noise_image():
    """Write an image of random pixels; returns them, (H, W, 3) uint8."""

    def make(path: Path, width: int = 48, height: int = 40, seed: int = 0) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return pixels

    return make
