from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def smooth_noise(seed: int, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 with structure at several scales, so that no metric degenerates."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cell in (1, 4, 16):
        coarse = rng.normal(0, 30, (-(-height // cell), -(-width // cell), 3))
        image += np.kron(coarse, np.ones((cell, cell, 1)))[:height, :width]
    return np.clip(np.rint(128 + image), 0, 255).astype(np.uint8)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    """Folders SR and HR of three pairs of different sizes."""
    rng = np.random.default_rng(7)
    for index, (height, width) in enumerate([(40, 52), (64, 48), (33, 33)]):
        hr = smooth_noise(index, height, width)
        sr = np.clip(hr + rng.normal(0, 8, hr.shape), 0, 255).astype(np.uint8)
        for folder, image in (("SR", sr), ("HR", hr)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(image).save(tmp_path / folder / f"image_{index}.png")
    return tmp_path / "SR", tmp_path / "HR"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, and no way to the network."""
    folder = tmp_path / "weights"
    (folder / "hub" / "pyiqa").mkdir(parents=True)
    (folder / "hub" / "checkpoints").mkdir()
    monkeypatch.setenv("FRAMER_WEIGHTS", str(folder))

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return folder
