import numpy as np
import pytest
import scipy.linalg
from PIL import Image

from framer.scoring.fid import frechet_distance, resized


def test_against_the_definition():
    """With the matrix root itself, on covariances of full rank and on singular ones."""
    rng = np.random.default_rng(0)
    for count in (300, 12):
        x = rng.normal(size=(count, 24)) @ rng.normal(size=(24, 24))
        y = rng.normal(0.3, 1.5, size=(count + 5, 24))
        a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
        # tr sqrt(AB) = tr sqrt(A^1/2 B A^1/2), which is symmetric.
        root = scipy.linalg.sqrtm(a + 1e-12 * np.eye(24)).real
        trace = np.sqrt(np.clip(np.linalg.eigvalsh(root @ b @ root), 0, None)).sum()
        expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a) + np.trace(b) - 2 * trace
        assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-4)


def test_equal_sets_are_at_no_distance():
    x = np.random.default_rng(1).normal(size=(9, 64)).astype(np.float32)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(x, x + 2) == pytest.approx(64 * 4, rel=1e-6)


def test_images_are_resized_as_pyiqa_does(tmp_path):
    dataset = pytest.importorskip("pyiqa.archs.fid_arch").ResizeDataset
    image = np.random.default_rng(2).integers(0, 256, (400, 90, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    theirs = dataset([tmp_path / "a.png"], "clean")[0]
    assert np.array_equal(resized(image), theirs.numpy())
