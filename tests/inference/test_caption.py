"""Captions by a tiny random LLaVA."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from framer.data.captions import read_captions
from framer.data.images import write_png
from framer.errors import UserError
from framer.inference import caption as captioning
from framer.inference.caption import QUESTION, caption
from tests.fixtures.captioner import WORDS, save_captioner
from tests.fixtures.hub import hub_client
from tests.fixtures.killing import die, killed
from tests.hub.hub_server import Hub


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
    with pytest.raises(UserError, match="not an image-to-text model") as caught:
        caption(photos, tmp_path / "c.csv", model=str(tmp_path), progress=False)
    assert "\n" not in str(caught.value) and not (tmp_path / "c.csv").exists()
    with pytest.raises(UserError, match=r"ends in \.csv"):
        caption(photos, tmp_path / "c.txt", model=str(tmp_path), progress=False)


def test_a_hub_that_does_not_answer_is_asked_once(photos, tmp_path):
    for endpoint in ("http://127.0.0.1:9", "127.0.0.1:9"):
        with hub_client(endpoint, tmp_path / "home"), pytest.raises(UserError) as caught:
            caption(photos, tmp_path / "c.csv", model="team/model", progress=False)
        assert caught.value.code in ("unavailable", "invalid") and caught.value.path == "team/model"
    with Hub("team/model", {}).serve() as hub, hub_client(hub.url, tmp_path / "home"):
        hub.refuse = (503, "")
        with pytest.raises(UserError, match="503"):
            caption(photos, tmp_path / "c.csv", model="team/model", progress=False)
        with pytest.raises(UserError, match="no such folder"):
            caption(photos, tmp_path / "c.csv", model="/no/such/model", progress=False)
    assert not list(tmp_path.glob("c.*"))


def count(at=0, then=None):
    """Count the images that the model is asked about, and do something when it is asked about number `at`."""
    real, asked = captioning._answer, []

    def answer(*arguments):
        asked.append(arguments)
        if len(asked) == at:
            then()
        return real(*arguments)

    captioning._answer = answer
    return asked


def caption_until(at, images, out, **options):
    """In a process of its own: SIGKILL at an image."""
    count(at, die)
    caption(images, out, tokens=6, progress=False, **options)


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(captioning, "_answer", captioning._answer)  # put back afterwards
    return count()


def test_a_killed_call_resumes_and_ends_with_the_same_bytes(llava, photos, tmp_path, asked):
    out, once = tmp_path / "new" / "c.csv", tmp_path / "once.csv"
    killed(partial(caption_until, model=str(llava)), 3, photos, out)
    [journal] = out.parent.glob(".c.csv.journal")
    journal.write_text(journal.read_text()[:-3])  # the second line is cut short
    caption(photos, out, model=str(llava), tokens=6, progress=False)
    assert len(asked) == 2
    assert sorted(path.name for path in out.parent.iterdir()) == ["c.csv", "c.json"]
    caption(photos, once, model=str(llava), tokens=6, progress=False)
    for suffix in (".csv", ".json"):
        assert out.with_suffix(suffix).read_bytes() == once.with_suffix(suffix).read_bytes()


def interrupted(monkeypatch, images, out, **options):
    """Caption all but the last image."""

    def stop():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(captioning, "_answer", captioning._answer)
        count(3, stop)
        caption(images, out, progress=False, **options)


@pytest.mark.parametrize("change", ["seed", "threads", "question", "tokens", "weights"])
def test_what_was_done_otherwise_is_done_again(llava, photos, tmp_path, monkeypatch, asked, change):
    """Each of these could give other captions."""
    model = tmp_path / "model"
    shutil.copytree(llava, model)
    options = {"model": str(model), "tokens": 6}
    interrupted(monkeypatch, photos, tmp_path / "c.csv", **options)
    if change == "weights":
        weights = load_file(model / "model.safetensors")
        save_file({name: 2 * tensor for name, tensor in weights.items()}, model / "model.safetensors", {"format": "pt"})
    else:
        options |= {change: {"seed": 1, "threads": 2, "question": "Where?", "tokens": 5}[change]}
    asked.clear()
    caption(photos, tmp_path / "c.csv", progress=False, **options)
    assert len(asked) == 3
    caption(photos, tmp_path / "once.csv", progress=False, **options)
    for suffix in ("csv", "json"):
        assert (tmp_path / f"c.{suffix}").read_bytes() == (tmp_path / f"once.{suffix}").read_bytes()


def test_an_image_that_was_changed_or_taken_away_since(llava, photos, tmp_path, monkeypatch, asked):
    images = tmp_path / "mine"
    shutil.copytree(photos, images)
    interrupted(monkeypatch, images, tmp_path / "c.csv", model=str(llava), tokens=6)
    shutil.copy(photos / "c.png", images / "a.png")
    (images / "b.png").unlink()
    asked.clear()
    caption(images, tmp_path / "c.csv", model=str(llava), tokens=6, progress=False)
    assert len(asked) == 2
    assert read_captions(tmp_path / "c.csv").keys() == {"a", "c"}
