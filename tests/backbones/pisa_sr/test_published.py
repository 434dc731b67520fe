"""A base in the layout of a published pipeline: read, trained on, restored from, and refused where it is damaged."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from framer.backbones.base import Batch
from framer.backbones.loading import read_tensors
from framer.backbones.pisa_sr.lora import lora_state
from framer.backbones.pisa_sr.lora_file import EMPTY_PROMPT, LoraWeights, write_lora
from framer.backbones.pisa_sr.model import PiSASR
from framer.backbones.random import Draws, generator
from framer.backbones.registry import settings_of
from framer.data.images import read_rgb, write_png
from framer.errors import UserError
from framer.inference.restore import restore
from framer.method.recipe import Recipe
from framer.provenance.cards import read_card, write_card
from framer.provenance.hashing import sha256_file
from framer.runs import run_dir
from framer.runs.convert import convert
from framer.study.jobs import TrainingData, TrainJob
from framer.study.schema import Optimisation
from framer.training.options import Session
from framer.training.train import train
from tests.backbones.pisa_sr.sd_folder import write_pipeline

SETTINGS = {"lpips": 0, "framer_maps": "latents"}
SMALL = {"color": "adain", "tile": 16, "overlap": 4, "vae_tile": 128}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """As `framer fetch --weights` leaves it."""
    folder = write_pipeline(tmp_path_factory.mktemp("weights") / "someone--sd")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    write_card(folder, "base", names, repo="someone/sd", revision="main", commit="0" * 40)
    return folder


def opened(folder, **settings):
    return PiSASR.open(folder, settings_of("pisa_sr", SETTINGS | settings))


def draws(count=1):
    return Draws(tuple(generator(1, i) for i in range(count)), generator(2))


def test_prompts_are_embedded_as_transformers_does(pipeline):
    model = opened(pipeline)
    tokenizer = CLIPTokenizer.from_pretrained(pipeline / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(pipeline / "text_encoder")
    prompts = ["", "a dog, grass", "a house " * 60, ""]
    found = model.text.get(prompts)
    assert found.shape == (4, 77, 32) and torch.equal(found[0], found[3])
    for prompt, embedding in zip(prompts, found, strict=True):
        tokens = tokenizer(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            assert torch.allclose(encoder(tokens).last_hidden_state[0], embedding, atol=1e-5)
    assert set(model.text.kept) == {""}  # tags of a whole training set would not fit into memory


def test_weights_are_those_of_the_folder_and_frozen(pipeline):
    model = opened(pipeline)
    again = opened(pipeline)
    assert all(torch.equal(p, again.network.get_parameter(n)) for n, p in model.network.named_parameters())
    assert not any(p.requires_grad for p in model.network.parameters())
    assert model.alphas.shape == (1000,) and model.alphas[0] == pytest.approx(1 - 0.00085)


def test_both_stages_train_on_it(pipeline):
    model = opened(pipeline)
    model.prompts = {"a": "a dog"}
    batch = Batch(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64), ("a", "b"), draws(2))
    for stage, kind in (("pixel", "pix"), ("semantic", "sem")):
        model.adapt(stage)
        model.training_loss(batch).total.backward()
        gradients = [p.grad for name, p in lora_state(model.network, [kind]).items() if ".lora_B." in name]
        assert all(g is not None and g.isfinite().all() for g in gradients) and any(g.any() for g in gradients)


@pytest.mark.slow
def test_a_run_goes_through_the_engine_and_restores_without_the_text_encoder(pipeline, tmp_path):
    base = tmp_path / "weights/someone--sd"
    shutil.copytree(pipeline, base)
    pixels = (torch.rand(80, 96, 3, generator=generator(3)) * 255).to(torch.uint8).numpy()
    write_png(tmp_path / "photos/HR/a.png", pixels)
    write_png(tmp_path / "lr/x.png", pixels[:10, :30])
    stage = Optimisation(steps=1, batch=2, crop=64, lr=1e-3)
    seeds = {"init": 1, "data": 2, "noise": 3, "negatives": 4}
    data = TrainingData(("photos",), "pisa_sr")
    settings = settings_of("pisa_sr", SETTINGS).training
    job = TrainJob(
        backbone="pisa_sr",
        base="someone/sd",
        settings=settings,
        data=data,
        stages={"pixel": stage, "semantic": stage},
        heldout=None,
        seeds=seeds,
        threads=1,
        recipe=Recipe.named("released"),
    )
    train(job, base, [tmp_path / "photos/HR"], tmp_path / "runs/r", session=Session(progress=False))
    state = read_tensors(tmp_path / "runs/r/model.safetensors")
    assert state[EMPTY_PROMPT].shape == (1, 77, 32)

    model, _ = run_dir.load_run(tmp_path / "runs/r")
    assert isinstance(model, PiSASR)
    lr = torch.rand(1, 3, 10, 30)
    options = settings_of("pisa_sr", {"restore": SMALL}).restore
    model.process_size = 64
    assert model.restore_image(lr, draws(), options).shape == (1, 3, 40, 120)
    assert "_encoder" not in model.text.__dict__  # the text encoder was never read

    (base / "unet/config.json").write_text((base / "unet/config.json").read_text() + " ")
    with pytest.raises(UserError, match=r"unet/config\.json: its sha256 is not the one in"):
        restore(tmp_path / "runs/r", tmp_path / "lr", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists() and read_rgb(tmp_path / "lr/x.png").shape == (10, 30, 3)


@pytest.mark.slow
def test_the_released_file_becomes_a_run_and_a_run_the_released_file(pipeline, tmp_path):
    base = tmp_path / "weights/someone--sd"
    shutil.copytree(pipeline, base)
    model = opened(base, rank_pix=2)
    model.adapt("pixel")
    model.adapt("semantic")
    lora = {name: torch.randn(p.shape, generator=generator(5)) for name, p in lora_state(model.network).items()}
    write_lora(LoraWeights.of(lora, "here"), tmp_path / "pisa_sr.pkl", "official")
    convert(tmp_path / "pisa_sr.pkl", "pisa_sr", "run", tmp_path / "runs/released", base=base)
    card = read_card(tmp_path / "runs/released", "run")
    assert card["published"] == {"file": "pisa_sr.pkl", "sha256": sha256_file(tmp_path / "pisa_sr.pkl")}
    loaded, _ = run_dir.load_run(tmp_path / "runs/released")
    assert all(torch.equal(p, lora[name]) for name, p in lora_state(loaded.network).items())
    convert(tmp_path / "runs/released", "pisa_sr", "official", tmp_path / "again.pkl")
    again = torch.load(tmp_path / "again.pkl", weights_only=True)
    assert again["lora_rank_unet_pix"] == 2 and all(
        torch.equal(t, lora[n]) for n, t in again["state_dict_unet"].items()
    )


def test_conversions_that_cannot_be_are_one_line(pipeline, tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"x")
    for arguments, message in (
        ((tmp_path / "x.pkl", "pisa_sr", "run", tmp_path / "out"), "give both"),
        ((tmp_path / "x.pkl", "pisa_sr", "onnx", tmp_path / "out"), "unknown form 'onnx'"),
        ((tmp_path / "x.pkl", "pisa_sr", "peft", tmp_path / "out"), "x.pkl: not a readable pickle"),
        ((tmp_path, "pisa_sr", "peft", tmp_path / "out"), "card.json: missing"),
        ((tmp_path / "x.pkl", "dit4sr", "peft", tmp_path / "out"), "unknown form 'peft'"),
    ):
        with pytest.raises(UserError, match=message):
            convert(*arguments)
    with pytest.raises(UserError, match=r"x\.pkl: not a readable pickle"):
        convert(tmp_path / "x.pkl", "pisa_sr", "run", tmp_path / "out", base=pipeline)
    assert not (tmp_path / "out").exists()


def damaged(pipeline, tmp_path, change):
    folder = tmp_path / "sd"
    shutil.copytree(pipeline, folder)
    change(folder)
    with pytest.raises(UserError) as caught:
        opened(folder).text.get([""])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def edit(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def without_a_tensor(path):
    state = load_file(path)
    state.pop("conv_out.bias")
    save_file(state, path)


WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: shutil.rmtree(f / "unet"), "sd/unet: cannot be read"),
        (lambda f: (f / "vae/config.json").unlink(), "sd/vae: cannot be read"),
        (lambda f: cut(f / "unet" / WEIGHTS), "sd/unet: cannot be read"),
        (lambda f: (f / "vae" / WEIGHTS).unlink(), "sd/vae: cannot be read"),
        (lambda f: (f / "scheduler/scheduler_config.json").write_text("{"), "sd/scheduler: cannot be read"),
        (lambda f: edit(f / "scheduler/scheduler_config.json", prediction_type="v_prediction"), "'v_prediction'"),
        (lambda f: edit(f / "unet/config.json", in_channels=9), "sd/unet: cannot be read"),
        (lambda f: edit(f / "unet/config.json", layers_per_block=2), "sd/unet: cannot be read"),
        (lambda f: without_a_tensor(f / "unet" / WEIGHTS), "'conv_out.bias': tensors that do not fit"),
        (lambda f: shutil.rmtree(f / "text_encoder"), "its tokenizer and text_encoder cannot be read"),
        (lambda f: shutil.rmtree(f / "tokenizer"), "its tokenizer and text_encoder cannot be read"),
    ],
)
def test_damaged_pipelines_are_one_line(pipeline, tmp_path, change, message):
    assert message in damaged(pipeline, tmp_path, change)
