"""Captions by a tiny random LLaVA."""

import json

import numpy as np
import pytest
from captioner import WORDS, save_captioner

from framer.data.captions import read_captions
from framer.data.images import write_png
from framer.engine.caption import QUESTION, caption
from framer.errors import UserError


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    save_captioner(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        write_png(folder / f"{name}.png", rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return folder


def test_every_image_gets_its_caption_and_the_same_again(llava, photos, tmp_path):
    for name in ("one", "two"):
        caption(photos, tmp_path / f"{name}.csv", model=str(llava), tokens=6, progress=False)
    captions = read_captions(tmp_path / "one.csv")
    assert captions.keys() == {"a", "b", "c"}
    assert all(0 < len(text.split()) <= 6 and set(text.split()) <= set(WORDS) for text in captions.values())
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    sidecar = (tmp_path / "one.json").read_text()
    assert json.loads(sidecar)["question"] == QUESTION and str(photos) not in sidecar and str(llava) not in sidecar


def test_a_caption_does_not_depend_on_the_other_images(llava, photos, tmp_path):
    caption(photos, tmp_path / "all.csv", model=str(llava), tokens=6, progress=False)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "c.png").write_bytes((photos / "c.png").read_bytes())
    caption(tmp_path / "alone", tmp_path / "alone.csv", model=str(llava), tokens=6, progress=False)
    assert read_captions(tmp_path / "alone.csv")["c"] == read_captions(tmp_path / "all.csv")["c"]


def test_what_cannot_be_loaded_is_one_line(photos, tmp_path):
    with pytest.raises(UserError, match="no image-to-text model") as caught:
        caption(photos, tmp_path / "c.csv", model=str(tmp_path), progress=False)
    assert "\n" not in str(caught.value) and not (tmp_path / "c.csv").exists()
    with pytest.raises(UserError, match=r"ends in \.csv"):
        caption(photos, tmp_path / "c.txt", model=str(tmp_path), progress=False)
