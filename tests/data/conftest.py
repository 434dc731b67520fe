from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """A folder with copies of the project's manifests, and no data."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    for manifest in (ROOT / "datasets").glob("*.yaml"):
        (folder / manifest.name).write_bytes(manifest.read_bytes())
    return folder


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits before it tries again."""
    monkeypatch.setattr("framer.data.download.PAUSES", (0.0, 0.0))


@pytest.fixture
def noise_image():
    """Write an image of random pixels; returns them, (H, W, 3) uint8."""

    def make(path: Path, width: int = 48, height: int = 40, seed: int = 0) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return pixels

    return make
