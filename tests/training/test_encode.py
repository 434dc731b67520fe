"""Pairs encoded before training: the same run, to the byte, as encoding them on the fly."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from framer.data.captions import Captions, write_captions
from framer.data.images import write_png
from framer.data.pairs import Epochs
from framer.errors import UserError
from framer.inference.restore import restore
from framer.method.recipe import Recipe
from framer.provenance.cards import read_card, verify_payload
from framer.study.jobs import EncodeJob, PretrainJob, TrainingData, TrainJob
from framer.study.schema import Numerics, Optimisation
from framer.training.encode import encode
from framer.training.options import Session
from framer.training.pretrain import pretrain
from framer.training.train import train

QUIET = Session(progress=False)
SEEDS = {"init": 1, "data": 2, "noise": 3, "negatives": 4}
STEMS = ("0001", "b, 2")
"""Names of photographs; users have such."""
DATA = TrainingData(("one", "two"), "pisa_sr", pairs=5, seed=9)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two sets with photographs of the same names, captions of both, and a tiny base."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        for stem in STEMS:
            write_png(root / name / "HR" / f"{stem}.png", rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
        captions = {stem: f"set {name}. blurred. image {stem}." for stem in STEMS}
        write_captions(root / "captions" / f"{name}.csv", captions)
    job = PretrainJob("dit4sr", "tiny", {}, TrainingData(("one",), "pisa_sr"), {"base": stage(1)}, None, SEEDS, 1)
    pretrain(job, [root / "one/HR"], root / "bases/b", session=QUIET)
    return root


def stage(steps):
    return Optimisation(steps=steps, batch=2, crop=32, lr=1e-3)


def jobs(root, missing="error"):
    captions = Captions(str(root / "captions"), missing)
    run = TrainJob(
        "dit4sr", "tiny", {}, DATA, {"control": stage(4)}, None, SEEDS, 1, Recipe.named("released"), captions=captions
    )
    return run, EncodeJob("dit4sr", "tiny", {}, DATA, 32, captions, 1)


def folders(root):
    return [root / "one/HR", root / "two/HR"]


@pytest.fixture(scope="module")
def cache(root):
    encode(jobs(root)[1], root / "bases/b", folders(root), root / "encoded", progress=False)
    return root / "encoded"


def test_training_from_the_cache_gives_the_same_bytes(root, cache):
    job = jobs(root)[0]
    train(job, root / "bases/b", folders(root), root / "runs/fly", session=QUIET)
    train(job, root / "bases/b", folders(root), root / "runs/cached", session=QUIET, encoded=cache)
    for name in ("model.safetensors", "log.csv", "card.json"):
        assert (root / "runs/fly" / name).read_bytes() == (root / "runs/cached" / name).read_bytes(), name


def test_a_cache_is_complete_and_the_same_again(root, cache, tmp_path):
    encode(jobs(root)[1], root / "bases/b", folders(root), tmp_path / "again", progress=False)
    assert (cache / "card.json").read_bytes() == (tmp_path / "again/card.json").read_bytes()
    card = read_card(cache, "encoded")
    verify_payload(cache, card)
    assert {path.name for path in cache.glob("[!.]*")} == {*card["payload"], "card.json"}
    assert {key: tuple(t.shape) for key, t in load_file(cache / "pairs-00000.safetensors").items()} == {
        "hr": (5, 48, 8, 8),
        "lr": (5, 48, 8, 8),
    }
    with (cache / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["pair"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert {row["photograph"] for row in rows} <= {f"{s}/{i}" for s in ("one", "two") for i in STEMS}
    prompts = json.loads((cache / "prompts.json").read_text())
    assert prompts == ["", *(f"set {s}. image {i}." for s in ("one", "two") for i in STEMS)]


def test_captions_of_one_name_in_two_sets_are_distinguished(root):
    from framer.data.captions import training_prompts

    prompts = training_prompts(jobs(root)[0].captions, folders(root))
    assert prompts["one/0001"].startswith("set one") and prompts["two/0001"].startswith("set two")
    assert training_prompts(None, folders(root)) == {}


def test_another_cache_is_refused(root, cache, tmp_path):
    job = jobs(root)[0]
    for other, data, what in (
        (replace(job, data=replace(DATA, seed=8)), folders(root), "pairs"),
        (replace(job, stages={"control": stage(4).model_copy(update={"crop": 64})}), folders(root), "crop"),
        (job, folders(root)[:1], "data"),
        (replace(job, numerics=Numerics(precision="bf16")), folders(root), "precision"),
    ):
        with pytest.raises(UserError) as error:
            train(other, root / "bases/b", data, tmp_path / "run", session=QUIET, encoded=cache)
        assert (error.value.path, error.value.key, error.value.code) == (str(cache), what, "mismatch")
    assert not (tmp_path / "run" / "card.json").exists()


def test_a_damaged_shard_is_refused(root, tmp_path):
    encode(jobs(root)[1], root / "bases/b", folders(root), tmp_path / "c", progress=False)
    shard = tmp_path / "c/pairs-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="its sha256 is not the one"):
        train(jobs(root)[0], root / "bases/b", folders(root), tmp_path / "run", session=QUIET, encoded=tmp_path / "c")


def test_every_pair_comes_once_an_epoch_in_another_order():
    order = Epochs(7, 3)
    epochs = [[order(7 * epoch + k) for k in range(7)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [Epochs(7, 3)(k) for k in (13, 2, 8)] == [epochs[1][6], epochs[0][2], epochs[1][1]]


def test_a_missing_caption_stops_the_run_or_is_empty(root, tmp_path):
    for name in ("one", "two"):
        write_captions(tmp_path / f"{name}.csv", {"0001": "x"})
    for missing in ("error", "empty"):
        job = replace(jobs(root)[0], captions=Captions(str(tmp_path), missing), stages={"control": stage(0)})
        if missing == "empty":
            train(job, root / "bases/b", folders(root), tmp_path / "run", session=QUIET)
            continue
        with pytest.raises(UserError, match=r"one\.csv: no caption of b, 2"):
            train(job, root / "bases/b", folders(root), tmp_path / "run", session=QUIET)


def test_restoring_reads_captions_by_stem(root, tmp_path):
    train(
        replace(jobs(root)[0], stages={"control": stage(0)}),
        root / "bases/b",
        folders(root),
        root / "runs/r",
        session=QUIET,
    )
    for stem in reversed(STEMS):
        write_png(tmp_path / f"LR/{stem}.png", np.zeros((8, 8, 3), dtype=np.uint8))
    options = {"settings": {"steps": 1}, "progress": False}
    restore(root / "runs/r", tmp_path / "LR", tmp_path / "a", captions=root / "captions/one.csv", **options)
    assert read_card(tmp_path / "a", "images")["captions"]
    write_captions(tmp_path / "few.csv", {"0001": "x"})
    with pytest.raises(UserError, match="no caption of b, 2"):
        restore(root / "runs/r", tmp_path / "LR", tmp_path / "b", captions=tmp_path / "few.csv", **options)
    restore(root / "runs/r", tmp_path / "LR", tmp_path / "b", captions=tmp_path / "few.csv", missing="empty", **options)
    assert (tmp_path / "b/b, 2.png").is_file()
