"""Pretraining, training and restoring, end to end on a handful of synthetic photographs."""

import csv
import json
import shutil

import pytest
from safetensors.torch import load_file

from framer.backbones.random import Draws, generator
from framer.backbones.settings import FreeU
from framer.cli import main
from framer.data.images import read_rgb
from framer.data.pairs import to_rgb, to_tensor
from framer.errors import UserError
from framer.inference.restore import restore
from framer.provenance.cards import read_card, verify_payload
from framer.provenance.hashing import sha256_file
from framer.runs.run_dir import load_run
from framer.study.schema import Optimisation
from framer.training import trainer
from framer.training.options import Session
from framer.training.pretrain import pretrain
from framer.training.train import train
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import base_job, files, run_job

QUIET = Session(progress=False)
SMALL = {"batch": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """photos, and pairs/{LR,HR} of odd sizes."""
    root = tmp_path_factory.mktemp("study")
    write_photographs(root)
    return root


@pytest.fixture(scope="module", params=["pisa_sr", "dit4sr"])
def study(request, folder):
    """A base, a baseline and a FRAMER run of one backbone."""
    root = folder / request.param
    data, heldout = [folder / "photos"], folder / "pairs"
    pretrain(base_job(request.param, **SMALL), data, root / "bases/b", heldout, session=QUIET)
    for name, recipe in (("baseline", None), ("framer", "released")):
        train(
            run_job(request.param, 2, recipe, **SMALL),
            root / "bases/b",
            data,
            root / f"runs/{name}",
            heldout,
            session=QUIET,
        )
    return request.param, root


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_each_stage_leaves_a_complete_folder(study):
    _, root = study
    for kind, path in (("base", "bases/b"), ("run", "runs/baseline"), ("run", "runs/framer")):
        card = read_card(root / path, kind)
        verify_payload(root / path, card)
        visible = {p.name for p in (root / path).glob("[!.]*")}
        assert visible == {*card["payload"], "card.json", "run.json"}
        assert {p.name for p in (root / path).glob(".*")} == {".finished", f".{kind}.journal"}
        assert set(card["payload"]) == {"model.safetensors", "config.json", "log.csv", "heldout.csv"}
        assert str(root) not in json.dumps(card)


def test_logs_and_heldout_losses(study):
    name, root = study
    base, term = table(root / "bases/b/heldout.csv"), {"pisa_sr": "l2", "dit4sr": "flow"}[name]
    runs = {run: table(root / f"runs/{run}/heldout.csv") for run in ("baseline", "framer")}
    assert [(r["stage"], r["step"]) for r in base] == [("base", "0"), ("base", "2")]
    assert runs["baseline"][0] == runs["framer"][0]  # same start; the measure knows nothing of FRAMER
    log = {run: table(root / f"runs/{run}/log.csv") for run in ("baseline", "framer")}
    assert list(log["baseline"][0]) == ["stage", "step", "loss", term, "lr", "gradient"]
    assert list(log["framer"][0]) == ["stage", "step", "loss", term, "framer", "lr", "gradient"]
    # Common random numbers: at equal weights the two arms see the same loss but for FRAMER's own term.
    assert log["baseline"][0][term] == log["framer"][0][term]


def test_a_run_keeps_only_what_it_trained(study):
    name, root = study
    mark = {"pisa_sr": ".lora_", "dit4sr": "control"}[name]
    weights = {run: load_file(root / f"runs/{run}/model.safetensors") for run in ("baseline", "framer")}
    assert weights["baseline"].keys() == weights["framer"].keys()
    assert all(mark in tensor for tensor in weights["baseline"])
    assert any((weights["baseline"][tensor] != weights["framer"][tensor]).any() for tensor in weights["baseline"])


def test_a_loss_of_zero_trains_the_baseline(study, folder, tmp_path):
    """To the byte, so that a study need not train it again."""
    name, root = study
    job = run_job(name, 2, "noise_only", **SMALL)
    train(job, root / "bases/b", [folder / "photos"], tmp_path / "run", folder / "pairs", session=QUIET)
    assert sha256_file(tmp_path / "run/model.safetensors") == sha256_file(root / "runs/baseline/model.safetensors")


def test_the_same_work_gives_the_same_bytes(study, folder, tmp_path):
    name, root = study
    data, heldout = [folder / "photos"], folder / "pairs"
    pretrain(base_job(name, **SMALL), data, tmp_path / "bases/b", heldout, session=QUIET)
    train(run_job(name, 2, **SMALL), tmp_path / "bases/b", data, tmp_path / "runs/framer", heldout, session=QUIET)
    for path in ("bases/b", "runs/framer"):
        assert files(root / path) == files(tmp_path / path)


def test_restoring_gives_four_times_the_size_whoever_is_in_the_folder(study, folder, tmp_path):
    name, root = study
    restore(root / "runs/framer", folder / "pairs/LR", tmp_path / "all", seed=7, progress=False)
    (tmp_path / "one").mkdir()
    shutil.copy(folder / "pairs/LR/3.png", tmp_path / "one/3.png")
    shutil.copy(folder / "pairs/LR/3.png", tmp_path / "one/other.png")
    restore(root / "runs/framer", tmp_path / "one", tmp_path / "alone", seed=7, progress=False)
    assert read_rgb(tmp_path / "all/2.png").shape == (36, 20, 3)
    assert sha256_file(tmp_path / "all/3.png") == sha256_file(tmp_path / "alone/3.png")
    # The noise of an image belongs to its name; PiSA-SR has none.
    twin = sha256_file(tmp_path / "alone/3.png") == sha256_file(tmp_path / "alone/other.png")
    assert twin == (name == "pisa_sr")
    verify_payload(tmp_path / "all", read_card(tmp_path / "all", "images"))


def test_half_precision_of_a_gpu_is_refused_on_a_cpu(study, folder, tmp_path):
    """Tiny bases are for CPUs, whatever else there is."""
    _, root = study
    with pytest.raises(UserError, match="precision: fp16 needs a GPU"):
        restore(
            root / "runs/framer", folder / "pairs/LR", tmp_path / "x", settings={"precision": "fp16"}, progress=False
        )
    assert not (tmp_path / "x").exists()


def test_restoring_again_leaves_no_image_of_before(folder, tmp_path):
    restore("bicubic", folder / "pairs/LR", tmp_path / "out", progress=False)
    (tmp_path / "one").mkdir()
    shutil.copy(folder / "pairs/LR/3.png", tmp_path / "one")
    restore("bicubic", tmp_path / "one", tmp_path / "out", progress=False)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"3.png", "index.csv", "card.json"}


def test_blank_lr_and_seed_reach_the_network(study, folder, tmp_path):
    name, root = study
    for out, options in (("plain", {}), ("blank", {"blank_lr": True}), ("seed", {"seed": 1})):
        restore(root / "runs/baseline", folder / "pairs/LR", tmp_path / out, progress=False, **options)
    same = {
        out: sha256_file(tmp_path / out / "2.png") == sha256_file(tmp_path / "plain/2.png") for out in ("blank", "seed")
    }
    assert same == {"blank": False, "seed": name == "pisa_sr"}  # one step from the image itself: no noise to seed


FREEU = {"s1": 0.9, "s2": 0.2, "b1": 1.4, "b2": 1.6}


def test_freeu_is_that_of_diffusers_and_a_transformer_has_none(study, folder, tmp_path, capsys):
    """To the bit a network on which `enable_freeu` was called by hand; factors of one are close to none."""
    name, root = study
    lr, run = folder / "pairs/LR", root / "runs/framer"
    if name == "dit4sr":
        with pytest.raises(UserError, match="dit4sr has no skip connections"):
            restore(run, lr, tmp_path / "freeu", freeu=FreeU(**FREEU), progress=False)
        return
    call = ["restore", "--checkpoint", str(run), "--lr", str(lr), "--out", str(tmp_path / "freeu")]
    assert main([*call, "--freeu", ",".join(map(str, FREEU.values()))]) == 0
    assert main([*call, "--freeu", "0.9,0.2,1.4"]) == main([*call, "--freeu", "0.9,0.2,1.4,0"]) == 2
    capsys.readouterr()
    restore(run, lr, tmp_path / "plain", progress=False)
    cards = {out: read_card(tmp_path / out, "images") for out in ("plain", "freeu")}
    assert cards["freeu"]["freeu"] == FREEU and "freeu" not in cards["plain"]

    image = to_tensor(read_rgb(lr / "2.png")).unsqueeze(0)
    found = {}
    for key, factors in (("plain", None), ("ones", dict.fromkeys(FREEU, 1.0)), ("freeu", FREEU)):
        model, _ = load_run(run)
        if factors:
            model.network.enable_freeu(**factors)
        found[key] = model.restore_image(image, Draws((generator(0, "2"),), generator(0)))[0]
    assert (to_rgb(found["freeu"]) == read_rgb(tmp_path / "freeu/2.png")).all()
    assert (found["ones"] - found["plain"]).abs().max() <= 1e-5 < (found["freeu"] - found["plain"]).abs().max()


def test_zero_steps_keep_the_starting_weights(folder, tmp_path):
    """The untrained control. Of PiSA-SR it is bicubic interpolation to the last bit."""
    data = [folder / "photos"]
    pretrain(base_job("pisa_sr", steps=0), data, tmp_path / "bases/b", folder / "pairs", session=QUIET)
    train(run_job("pisa_sr", 0, None), tmp_path / "bases/b", data, tmp_path / "runs/r", folder / "pairs", session=QUIET)
    assert table(tmp_path / "runs/r/log.csv") == [] and len(table(tmp_path / "runs/r/heldout.csv")) == 1
    for checkpoint, out in ((tmp_path / "runs/r", "untrained"), ("bicubic", "bicubic")):
        restore(checkpoint, folder / "pairs/LR", tmp_path / out, progress=False)
    names = [path.name for path in (tmp_path / "bicubic").glob("*.png")]
    assert len(names) == len(list((folder / "pairs/LR").iterdir()))
    for name in names:
        assert sha256_file(tmp_path / "untrained" / name) == sha256_file(tmp_path / "bicubic" / name)


def test_another_base_is_refused(study, folder, tmp_path):
    name, root = study
    shutil.copytree(root / "runs/baseline", tmp_path / "runs/baseline")
    with pytest.raises(UserError, match=r"config\.json: base.path: .*bases/b is missing"):
        restore(tmp_path / "runs/baseline", folder / "pairs/LR", tmp_path / "out", progress=False)
    pretrain(base_job(name, 1, **SMALL), [folder / "photos"], tmp_path / "bases/b", session=QUIET)
    with pytest.raises(UserError, match="has other weights than this run was trained on"):
        restore(tmp_path / "runs/baseline", folder / "pairs/LR", tmp_path / "out", progress=False)
    wrong = {"pisa_sr": "dit4sr", "dit4sr": "pisa_sr"}[name]
    with pytest.raises(UserError, match=f"is '{name}'; a base of '{wrong}' is needed"):
        train(run_job(wrong, 2, None), tmp_path / "bases/b", [folder / "photos"], tmp_path / "x", session=QUIET)
    assert not (tmp_path / "out").exists() and not (tmp_path / "x").exists()


def test_damaged_checkpoints_are_refused(study, folder, tmp_path):
    _, root = study
    shutil.copytree(root, tmp_path / "s")
    run = tmp_path / "s/runs/baseline"
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model\.safetensors: its sha256 is not the one in"):
        restore(run, folder / "pairs/LR", tmp_path / "out", progress=False)
    (run / "card.json").unlink()
    with pytest.raises(UserError, match=r"card\.json: missing"):
        restore(run, folder / "pairs/LR", tmp_path / "out", progress=False)


def test_divergence_names_step_layer_and_images(folder, tmp_path):
    said = (
        r"at step \d+: (loss|l2|gradient) is .*; lower lr .*; stage base, images study\d/[01].*; first not finite: the"
    )
    with pytest.raises(UserError, match=said):
        pretrain(base_job("pisa_sr", 20, lr=1e30, **SMALL), [folder / "photos"], tmp_path / "b", session=QUIET)
    assert not (tmp_path / "b").exists()


def test_schedule():
    given = Optimisation(steps=10, batch=1, crop=32, lr=1.0, warmup=4, decay=True)
    values = [trainer.schedule(step, given) for step in range(10)]
    assert values[:4] == [0.25, 0.5, 0.75, 1.0]
    assert values[4] == 1.0 and values[7] == pytest.approx(0.5) and 0 < values[9] < 0.1
    assert trainer.schedule(9, given.model_copy(update={"decay": False})) == 1.0


def test_inputs_are_never_overwritten(folder, tmp_path):
    shutil.copytree(folder / "pairs/LR", tmp_path / "mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    with pytest.raises(UserError, match="--out: is an input of this command"):
        restore("bicubic", tmp_path / "mine", tmp_path / "other/../mine", progress=False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before
