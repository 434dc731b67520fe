"""Photographs of the operating system's packages: found unpacked, reduced, split; and textured crops of them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from framer.dag.inventory import inventory
from framer.data.degradation.dataset import degrade_set
from framer.data.fetch import UNPACKED, fetch, how_to_get, present
from framer.data.images import list_images, read_rgb
from framer.data.manifest import Manifest
from framer.data.pairs import TEXTURE, texture
from framer.errors import UserError

SIDES = {"train": (400, 300), "test": (256, 512)}
DEGRADED = {"kind": "degraded", "of": "wallpapers", "split": "test", "preset": "lowlight", "crop": 64, "seed": 1}


def half_flat(width: int, height: int) -> Image.Image:
    """Noise on the left, one gray on the right."""
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[:, width // 2 :] = 90
    return Image.fromarray(pixels)


@pytest.fixture
def wallpapers(tmp_path: Path) -> Manifest:
    """A set whose two photographs lie where unpacking puts them."""
    files = tmp_path / "wallpapers" / UNPACKED / "usr/share/backgrounds/nature"
    files.mkdir(parents=True)
    splits = {}
    for split, (width, height) in SIDES.items():
        path = files / f"{split}-1.jpg"
        half_flat(width, height).save(path, quality=95)
        content = path.read_bytes()
        facts = {
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "author": "N",
            "license": "CC0-1.0",
        }
        splits[split] = [{"file": f"nature/{path.name}"} | facts]
    source = {"kind": "packages", "packages": ["walls-1.0"], "folder": "usr/share/backgrounds"}
    source |= {"longest": 256, "size": 1000, "splits": splits}
    return written(tmp_path, "wallpapers", sources=[source], paired=False, count=2)


def written(datasets: Path, name: str, **changes: object) -> Manifest:
    keys = {"id": name, "title": name, "license": "none", "scale": 4} | changes
    (datasets / f"{name}.yaml").write_text(yaml.safe_dump(keys))
    return Manifest.load(name, datasets)


def test_photographs_are_reduced_to_the_longest_side_and_split(wallpapers, tmp_path):
    fetch(wallpapers, tmp_path, progress=False)
    sizes = {
        split: [read_rgb(path).shape[:2] for path in list_images(tmp_path / "wallpapers" / split).values()]
        for split in SIDES
    }
    assert sizes == {"train": [(192, 256)], "test": [(256, 128)]}
    original = half_flat(*SIDES["train"])
    flat = read_rgb(tmp_path / "wallpapers/train/train-1.png")[:, 140:]
    assert abs(flat.astype(int) - np.asarray(original)[0, -1]).max() <= 3
    assert wallpapers.training_folder == "train"


def test_what_is_missing_names_the_packages(wallpapers, tmp_path):
    assert present(wallpapers, tmp_path)
    path = next((tmp_path / "wallpapers" / UNPACKED).rglob("test-1.jpg"))
    path.rename(path.with_name("elsewhere.jpg"))
    assert not present(wallpapers, tmp_path)
    with pytest.raises(
        UserError, match=r"no nature/test-1\.jpg .*apt-get install walls-1\.0; .*framer fetch wallpapers"
    ):
        fetch(wallpapers, tmp_path, progress=False)
    assert "apt-get install walls-1.0" in how_to_get(wallpapers, tmp_path)
    [line], missing = inventory(tmp_path, ["wallpapers"], [])
    assert missing
    assert "manually" in line


def test_another_photograph_of_the_same_size_is_refused(wallpapers, tmp_path):
    path = next((tmp_path / "wallpapers" / UNPACKED).rglob("test-1.jpg"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(UserError, match="not the photograph of the manifest"):
        fetch(wallpapers, tmp_path, progress=False)
    assert not (tmp_path / "wallpapers/test").exists()


def test_textured_crops_leave_out_the_flat_part(wallpapers, tmp_path):
    fetch(wallpapers, tmp_path, progress=False)
    pairs = written(tmp_path, "pairs", sources=[DEGRADED | {"per_image": 4, "crops": "textured"}], paired=True, count=4)
    degrade_set(pairs, tmp_path, progress=False)
    crops = [read_rgb(path) for path in list_images(tmp_path / "pairs/HR").values()]
    assert len(crops) == 4
    assert min(map(texture, crops)) > TEXTURE

    more = written(tmp_path, "more", sources=[DEGRADED | {"per_image": 5, "crops": "textured"}], paired=True, count=5)
    with pytest.raises(UserError, match="room for 4 textured crops of 64, not 5"):
        degrade_set(more, tmp_path, progress=False)
