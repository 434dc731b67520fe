"""What another method restored is taken over whole, or not at all."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.data.images import read_rgb
from framer.errors import UserError
from framer.inference.import_images import adopt
from framer.inference.output_folder import Filling


@pytest.fixture
def folders(tmp_path: Path, noise_image) -> tuple[Path, Path, Path]:
    for seed, name in enumerate("ab"):
        noise_image(tmp_path / f"lr/{name}.png", width=8 + seed, height=6, seed=seed)
        noise_image(tmp_path / f"sr/{name}.png", width=4 * (8 + seed), height=24, seed=seed + 5)
    return tmp_path / "sr", tmp_path / "lr", tmp_path / "out"


def test_the_pixels_are_the_same_in_any_lossless_format(folders: tuple[Path, Path, Path]) -> None:
    sr, lr, out = folders
    Image.open(sr / "a.png").save(sr / "a.bmp")
    (sr / "a.png").unlink()
    adopt(sr, lr, out, progress=False)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "card.json", "index.csv"]
    assert np.array_equal(read_rgb(out / "a.png"), read_rgb(sr / "a.bmp"))
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    adopt(sr, lr, out, progress=False)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sr, make: (sr / "b.png").unlink(), r"sr: no image for b of \S+lr; put 1 more there"),
        (lambda sr, make: make(sr / "c.png"), r"sr: c: not in \S+lr; remove 1"),
        (lambda sr, make: make(sr / "b.png", width=8), r"sr/b\.png: 8x40 pixels, not 36x24, four times its LR image"),
        (lambda sr, make: (sr / "b.png").write_bytes(b"x"), r"sr/b\.png"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_card(folders: tuple[Path, Path, Path], noise_image, change, words) -> None:
    sr, lr, out = folders
    adopt(sr, lr, out, progress=False)
    change(sr, noise_image)
    with pytest.raises(UserError) as caught:
        adopt(sr, lr, out, progress=False)
    assert re.search(words, str(caught.value)) and "\n" not in str(caught.value)
    # What was complete before stays, unless the images could be read and one of them has a wrong size.
    assert (out / "card.json").exists() == ("four times" not in words)
    assert not (out / "card.json").exists() or read_rgb(out / "b.png").shape == (24, 36, 3)


def test_what_a_killed_restoring_left_goes(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    sr, lr, out = folders
    adopt(sr, lr, out, progress=False)
    clean = {path.name: path.read_bytes() for path in out.iterdir()}
    filling = Filling(out, "another work", {"a": "its LR image", "gone": "another"})
    for stem in ("a", "gone"):
        filling.write(stem, read_rgb(sr / "a.png"))
    adopt(sr, lr, out, progress=False)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == clean


def test_an_image_that_is_begun_in_the_journal_goes_too(tmp_path: Path) -> None:
    """Killed after the image was written, before the journal says so."""
    out = tmp_path / "out"
    Filling(out, 1, {"a": 1}).write("a", np.zeros((4, 4, 3), np.uint8))
    journal = out / ".index.csv.journal"
    journal.write_text(journal.read_text().rpartition("\n")[0])
    assert Filling(out, 2, {"b": 1}).done == set()
    assert list(out.iterdir()) == []
