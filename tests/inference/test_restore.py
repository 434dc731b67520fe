"""A set of images that takes longer than its job: interrupted, gone on with, and always the same bytes."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from spandrel.architectures.ESRGAN import ESRGAN

from framer.backbones.settings import FreeU
from framer.cli import main
from framer.data.captions import write_captions
from framer.data.images import write_index, write_png
from framer.errors import UserError
from framer.inference import output_folder
from framer.inference import restore as restoring
from framer.inference.models import ModelFile
from framer.inference.restore import restore
from framer.provenance.cards import read_card, write_card
from framer.scoring.folders import Task, score_folders
from framer.training.options import Session
from framer.weights.lock_file import accept
from tests.fixtures.killing import die, killed
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import base_job, run_job, train_here

STEMS = ("a", "b", "c", "d")
FACTORS = FreeU(s1=0.9, s2=0.2, b1=1.4, b2=1.6)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """lr, a run whose images hang on noise and captions, and captions."""
    root = tmp_path_factory.mktemp("study")
    write_photographs(root)
    for job, out in ((base_job("dit4sr", 1), "bases/dit4sr"), (run_job("dit4sr", 1, None), "runs/r")):
        train_here(root, job, root / out, Session(progress=False))
    rng = np.random.default_rng(0)
    for number, stem in enumerate(STEMS):
        write_png(root / f"lr/{stem}.png", rng.integers(0, 256, (5 + number, 7, 3), dtype=np.uint8))
    write_captions(root / "captions.csv", dict.fromkeys(STEMS, "A tree."))
    return root


def run(study, out, lr=None, checkpoint=None, **options):
    options = {"settings": {"steps": 2}, "captions": study / "captions.csv"} | options
    restore(checkpoint or study / "runs/r", lr or study / "lr", out, progress=False, **options)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_writing(at, action):
    """Do something in place of writing image number `at`; returns the stems of those that are written."""
    real, written = output_folder.write_png, []

    def write(path, rgb):
        written.append(path.stem)
        if len(written) == at:
            action(path)
        real(path, rgb)

    output_folder.write_png = write
    return written


@pytest.fixture
def written(monkeypatch):
    monkeypatch.setattr(output_folder, "write_png", output_folder.write_png)  # put back afterwards
    return stop_writing(0, None)


def interrupt(*arguments, **options):
    raise KeyboardInterrupt


def die_in_the_middle(path):
    path.with_name(f".{path.name}.abc_1234.png").write_bytes(b"\x89PNG")
    die()


def run_until(at, action, *arguments, **options):
    """In a process of its own."""
    stop_writing(at, action)
    run(*arguments, **options)


def interrupted(study, out, monkeypatch, **options):
    """Two images are finished, and one is begun."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(output_folder, "write_png", output_folder.write_png)
        stop_writing(3, interrupt)
        run(study, out, **options)
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a.png", "b.png"]


def test_killed_in_the_middle_of_an_image_it_ends_with_the_same_bytes(study, tmp_path, written):
    run(study, tmp_path / "once")
    out = tmp_path / "out"
    killed(partial(run_until, 3, die_in_the_middle), study, out)
    assert {".c.png.abc_1234.png", ".index.csv.journal", ".lock", "a.png", "b.png"} == {
        path.name for path in out.iterdir()
    }
    written.clear()
    run(study, out)
    assert written == ["c", "d"]
    assert content(out) == content(tmp_path / "once")
    assert sorted(content(out)) == ["a.png", "b.png", "c.png", "card.json", "d.png", "index.csv"]


CHANGES = {
    "seed": {"seed": 1},
    "threads": {"threads": 2},
    "settings": {"settings": {"steps": 3}},
    "blank_lr": {"blank_lr": True},
    "checkpoint": {"checkpoint": "bicubic", "settings": {}, "captions": None},
}


@pytest.mark.parametrize("change", [*CHANGES, "card", "captions"])
def test_what_was_made_otherwise_is_made_again(study, tmp_path, written, monkeypatch, change):
    shutil.copytree(study, tmp_path / "s")
    root, options = tmp_path / "s", {}
    interrupted(root, tmp_path / "out", monkeypatch)
    if change == "card":  # another training, though its weights are the same
        card = root / "runs/r/card.json"
        card.write_text(card.read_text().replace('"threads": 1', '"threads": 3'))
    elif change == "captions":
        write_captions(root / "captions.csv", dict.fromkeys(STEMS, "A house."))
    else:
        options = CHANGES[change]
    written.clear()
    run(root, tmp_path / "out", **options)
    assert written == list(STEMS)
    run(root, tmp_path / "once", **options)
    assert content(tmp_path / "out") == content(tmp_path / "once")


def test_only_the_images_that_changed_are_made_again(study, tmp_path, written, monkeypatch):
    """Each by its LR image, its caption, and the bytes that were written of it."""
    shutil.copytree(study, tmp_path / "s")
    root, out = tmp_path / "s", tmp_path / "out"
    for change in (
        lambda: shutil.copy(root / "lr/c.png", root / "lr/a.png"),
        lambda: write_captions(root / "captions.csv", {**dict.fromkeys(STEMS, "A tree."), "a": "A lake."}),
        lambda: shutil.copy(out / "b.png", out / "a.png"),
        lambda: (out / "a.png").unlink(),
    ):
        interrupted(root, out, monkeypatch)
        change()
        written.clear()
        run(root, out)
        assert written == ["a", "c", "d"]
        run(root, tmp_path / "once")
        assert content(out) == content(tmp_path / "once")


def test_an_image_that_changes_meanwhile_is_refused(study, tmp_path, written, monkeypatch):
    """The card would name another image than the one that was restored."""
    shutil.copytree(study / "lr", tmp_path / "lr")
    with monkeypatch.context() as patch, pytest.raises(UserError) as error:
        patch.setattr(output_folder, "write_png", output_folder.write_png)
        stop_writing(1, lambda path: shutil.copy(tmp_path / "lr/d.png", tmp_path / "lr/c.png"))
        run(study, tmp_path / "out", lr=tmp_path / "lr")
    assert (error.value.path, error.value.code) == (str(tmp_path / "lr/c.png"), "changed")
    written.clear()
    run(study, tmp_path / "out", lr=tmp_path / "lr")
    assert written == ["c", "d"]


def test_each_image_of_a_set_is_read_once(study, tmp_path, monkeypatch):
    lr = tmp_path / "set" / "LR"
    shutil.copytree(study / "lr", lr)
    names = [f"LR/{stem}.png" for stem in STEMS]
    write_index(lr.parent, names)
    write_card(lr.parent, "images", ["index.csv"], set="set")
    read, real = [], restoring.read_hashed
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "read_hashed", lambda path: read.append(path.stem) or real(path))
        patch.setattr(output_folder, "read_hashed", None)
        patch.setattr(restoring, "sha256_file", None)
        run(study, tmp_path / "out", lr=lr)
    assert read == list(STEMS)


@pytest.mark.parametrize("done", [False, True])
def test_a_changed_image_of_a_set_is_refused(study, tmp_path, monkeypatch, done):
    """Also one whose restored image is there already."""
    lr = tmp_path / "set" / "LR"
    shutil.copytree(study / "lr", lr)
    write_index(lr.parent, [f"LR/{stem}.png" for stem in STEMS])
    write_card(lr.parent, "images", ["index.csv"], set="set")
    if done:
        interrupted(study, tmp_path / "out", monkeypatch, lr=lr)
    shutil.copy(lr / "d.png", lr / "a.png")
    with pytest.raises(UserError) as error:
        run(study, tmp_path / "out", lr=lr)
    assert (error.value.path, error.value.code) == (str(lr / "a.png"), "mismatch")
    assert not (tmp_path / "out" / "card.json").exists()


def test_another_lr_folder_leaves_no_image_of_before(study, tmp_path, written, monkeypatch):
    interrupted(study, tmp_path / "out", monkeypatch)
    (tmp_path / "lr").mkdir()
    for stem in "bd":
        shutil.copy(study / f"lr/{stem}.png", tmp_path / "lr")
    written.clear()
    run(study, tmp_path / "out", lr=tmp_path / "lr")
    assert written == ["d"]
    run(study, tmp_path / "once", lr=tmp_path / "lr")
    assert content(tmp_path / "out") == content(tmp_path / "once")


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("card", [True, False], ids=["the card is there", "the card is deleted"])
def test_a_changed_setting_replaces_the_images_and_touches_nothing_else(study, tmp_path, card):
    """A finished study with one restore setting changed; Snakemake deletes the card before the job runs again."""
    row, beside = tmp_path / "images/row", tmp_path / "images/beside"
    for out in (row, beside):
        run(study, out)
    (row / ".notes").write_text("the user's")
    if not card:
        (row / "card.json").unlink()
    everything = [tree(study), tree(tmp_path)]
    run(study, row, settings={"steps": 3})
    assert tree(study) == everything[0]
    after = tree(tmp_path)
    changed = {name for name in after.keys() | everything[1] if after.get(name) != everything[1].get(name)}
    assert changed == {f"images/row/{name}" for name in (*(f"{stem}.png" for stem in STEMS), "index.csv", "card.json")}
    run(study, tmp_path / "fresh", settings={"steps": 3})
    assert content(row) == content(tmp_path / "fresh") | {".notes": b"the user's"}


def test_an_error_keeps_what_is_finished(study, tmp_path, written, monkeypatch):
    run(study, tmp_path / "once")
    out, real, seen = tmp_path / "out", restoring.to_rgb, []

    def refuse(image):
        seen.append(image)
        if len(seen) == 3:
            raise UserError("it is too large")
        return real(image)

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"lr/c\.png: it is too large"):
        patch.setattr(restoring, "to_rgb", refuse)
        run(study, out)
    written.clear()
    run(study, out)
    assert written == ["c", "d"] and content(out) == content(tmp_path / "once")


def test_a_finished_folder_is_made_anew_and_killed_then_holds_nothing_of_before(study, tmp_path, written, monkeypatch):
    """Also where Snakemake deleted the card first."""
    out = tmp_path / "out"
    for card in (True, False):
        run(study, out, seed=5)
        if not card:
            (out / "card.json").unlink()
        interrupted(study, out, monkeypatch)
        written.clear()
        run(study, out)
        assert written == ["c", "d"]
    written.clear()
    run(study, out)
    assert written == list(STEMS)


def test_an_unfinished_folder_is_not_scored(study, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupted(study, out, monkeypatch)
    scores = {"framer": tmp_path / "s.csv"}
    for task in (Task(out, None, scores), Task(out, out, scores)):
        with pytest.raises(UserError, match=f"{out}: not all of its images are there yet"):
            score_folders([task], ["psnr"], progress=False)
    run(study, out)
    score_folders([Task(out, out, scores)], ["psnr"], progress=False)


@pytest.mark.parametrize("cut", range(3))
def test_killed_before_its_card_or_before_the_end(study, tmp_path, written, monkeypatch, cut):
    """The index, the card and the removal of the journal are three steps."""
    run(study, tmp_path / "once")
    out = tmp_path / "out"
    places = [(output_folder, "write_index"), (output_folder, "write_card"), (output_folder.Journal, "remove")]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*places[cut], interrupt)
        run(study, out)
    assert (out / "index.csv").exists() == (cut > 0) and (out / "card.json").exists() == (cut > 1)
    written.clear()
    run(study, out)
    assert written == [] and content(out) == content(tmp_path / "once")


@pytest.mark.parametrize("option", [{"settings": {"steps": 3}}, {"blank_lr": True}, {"freeu": FACTORS}])
def test_interpolation_has_no_options(study, tmp_path, option):
    with pytest.raises(UserError, match="bicubic has no settings"):
        run(study, tmp_path / "out", **{"checkpoint": "bicubic", "settings": {}, "captions": None, **option})
    assert not (tmp_path / "out").exists()


def test_a_network_from_a_file_restores_like_a_run(study, tmp_path, written):
    """Its card has the file's hash, and that nobody published one; interrupted, it ends with the same bytes."""
    with torch.random.fork_rng():
        torch.save(ESRGAN(num_filters=8, num_blocks=1).state_dict(), tmp_path / "net.pth")
    sha256, options = (
        accept(tmp_path / "net.pth"),
        ["--lr", str(study / "lr"), "--set", "tile=32", "--set", "overlap=8"],
    )
    assert main(["restore", "--model", str(tmp_path / "net.pth"), "--out", str(tmp_path / "once"), *options]) == 0
    card = read_card(tmp_path / "once", "images")
    assert {key: card[key] for key in ("checkpoint", "architecture", "hash")} == {
        "checkpoint": sha256,
        "architecture": "ESRGAN",
        "hash": "not published",
    }
    assert "seed" not in card
    assert card["versions"]["spandrel"]
    model, settings = ModelFile(tmp_path / "net.pth"), {"settings": {"tile": 32, "overlap": 8}, "captions": None}
    out = tmp_path / "out"
    stop_writing(3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(study, out, checkpoint=model, **settings)
    written.clear()
    run(study, out, checkpoint=model, **settings)
    assert content(out) == content(tmp_path / "once")
    with pytest.raises(UserError, match="no captions, LR latent or U-Net"):
        run(study, out, checkpoint=model, settings={}, blank_lr=True)
