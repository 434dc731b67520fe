"""DiT4SR on a pipeline folder of Stable Diffusion 3.5 in small: real VAE, text encoders and tokenizers."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from diffusers import AutoencoderKL
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from safetensors.torch import load_file, save_file
from torch.nn.parallel import DistributedDataParallel

from framer.backbones.base import Batch
from framer.backbones.dit4sr.model import DiT4SR
from framer.backbones.dit4sr.settings import DiT4SRRestore
from framer.backbones.dit4sr.weights_file import open_transformer
from framer.backbones.random import Draws, generator
from framer.backbones.registry import settings_of
from framer.errors import UserError
from framer.method import FramerLoss, Recipe
from framer.provenance.cards import write_card
from framer.runs.convert import convert
from framer.runs.run_dir import load_run
from tests.backbones.dit4sr.tiny_sd35 import write_pipeline

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

CAPTION = "a dog. the background is blurred. two cats."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "sd35"
    write_pipeline(path)
    return path


def opened(folder, **settings):
    """Adapted, and small enough for 16-pixel images to be restored at their size."""
    torch.manual_seed(0)
    model = DiT4SR.open(folder, settings_of("dit4sr", settings))
    model.process_size = 1
    model.adapt("control")
    return model


def randomised(model):
    """At their zero start the control weights would be invisible."""
    with torch.no_grad():
        for i, parameter in enumerate(model.trainable().values()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator(7, i)) * 0.2)
    return model


def batch(size=2):
    hr = torch.rand(size, 3, 32, 48, generator=generator(0))
    return Batch(hr[..., ::4, ::4], hr, tuple(f"set/{i}" for i in range(size)), Draws.of_step(0, 0, 0, size))


def draws(seed=3):
    return Draws((generator(seed),), generator(seed))


def test_the_base_is_the_folder(folder):
    model = opened(folder)
    state = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
    assert model.base_state().keys() >= state.keys()
    assert all(torch.equal(tensor, model.network.state_dict()[name]) for name, tensor in state.items())
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    image = torch.rand(1, 3, 16, 24, generator=generator(1))
    with torch.no_grad():
        expected = (vae.encode(image * 2 - 1).latent_dist.mean - 0.0609) * 1.5305
        assert torch.allclose(model.codec.encode(image), expected, atol=1e-6)


def test_text_is_what_diffusers_pipeline_encodes(folder):
    model = opened(folder)
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, transformer=None, vae=None)
    prompts = ["a dog", "", "a dog and a cat"]
    embedded, _, pooled, _ = pipeline.encode_prompt(
        prompts, None, None, do_classifier_free_guidance=False, max_sequence_length=9
    )
    text = model.text.get(prompts, 9)
    assert text.tokens.shape == (3, 77 + 9, 32) and text.pooled.shape == (3, 16)
    assert torch.allclose(text.tokens, embedded, atol=1e-6) and torch.allclose(text.pooled, pooled, atol=1e-6)


def test_prompts_are_encoded_once_and_the_encoders_freed(folder, monkeypatch):
    model = randomised(opened(folder))
    model.network.eval()
    model.prompts = {"a": "one", "b": "two"}
    loads, encoded = [], []
    load, encode = model.text.encoder._load, model.text.encoder.encode
    monkeypatch.setattr(model.text.encoder, "_load", lambda: loads.append(1) or load())
    monkeypatch.setattr(model.text.encoder, "encode", lambda p, t: encoded.extend(p) or encode(p, t))
    options = DiT4SRRestore(steps=1, text_tokens=5)
    for name in ("a", "b", "a"):
        model.restore_image(torch.rand(1, 3, 4, 4), draws(), options, prompt=model.prompts[name])
    assert len(loads) == 1 and len(encoded) == len(set(encoded)) == 3  # two prompts and the negative one
    assert model.text.encoder._pipeline is None


def test_prompts_are_filtered_dropped_and_reach_the_loss(folder):
    model = randomised(opened(folder, null_text=0.0, text_tokens=9))
    plain = model.training_loss(batch()).total
    model.prompts = {"set/0": CAPTION, "set/1": CAPTION}
    told = model.training_loss(batch()).total
    model.prompts = {"set/0": "a dog. two cats.", "set/1": "a dog. two cats."}
    assert torch.equal(model.training_loss(batch()).total, told) and not torch.equal(told, plain)
    deaf = randomised(opened(folder, null_text=1.0, text_tokens=9))
    deaf.prompts = model.prompts
    assert torch.equal(deaf.training_loss(batch()).total, plain)


@pytest.mark.parametrize("posterior", ["sample", "mode"])
def test_what_was_encoded_earlier_gives_the_same_loss(folder, posterior):
    model = randomised(opened(folder, posterior=posterior))
    now = model.training_loss(batch())
    full = batch()
    empty = torch.empty(2, 3, 0, 0)
    later = model.training_loss(Batch(empty, empty, full.stems, full.draws, model.encode(full)))
    assert torch.equal(now.total, later.total)


def test_only_control_weights_move_under_each_precision(folder):
    for dtype in (torch.float32, torch.bfloat16):
        model = randomised(opened(folder))
        model.to("cpu", dtype)
        trained = model.trainable()
        assert {p.dtype for p in trained.values()} == {torch.float32}
        frozen = {name: p for name, p in model.network.named_parameters() if name not in trained}
        assert {p.dtype for p in frozen.values()} == {dtype}
        before = {name: p.clone() for name, p in model.network.named_parameters()}
        optimiser = torch.optim.AdamW(trained.values(), lr=1e-3)
        loss = model.training_loss(batch(), FramerLoss(Recipe.named("released"))).total
        loss.backward()
        optimiser.step()
        assert loss.dtype == torch.float32 and loss.isfinite()
        assert all(not torch.equal(p, before[name]) for name, p in trained.items())
        assert all(torch.equal(p, before[name]) for name, p in frozen.items())


def test_low_precision_is_close(folder):
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        model = randomised(opened(folder))
        model.to("cpu", dtype)
        losses.append(model.training_loss(batch()).total.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_checkpointing_changes_nothing_with_framer_either(folder):
    gradients = []
    for checkpointing in (False, True):
        model = randomised(opened(folder, gradient_checkpointing=checkpointing))
        assert model.network.gradient_checkpointing == checkpointing
        model.training_loss(batch(), FramerLoss(Recipe.named("released"))).total.backward()
        gradients.append([p.grad for p in model.trainable().values()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("key", ["released", "fixed"])
def test_ddp_needs_no_search_for_unused_parameters(folder, key):
    """DDP would raise at the second step if a parameter had got no gradient in the first."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = randomised(opened(folder, key=key))
        alone = randomised(opened(folder, key=key))
        model.network = DistributedDataParallel(model.network)
        for _ in range(2):
            for one in (model, alone):
                one.training_loss(batch(), FramerLoss(Recipe.named("paper"))).total.backward()
        both = zip(model.trainable().values(), alone.trainable().values(), strict=True)
        assert all(p.grad is not None and torch.equal(p.grad, q.grad) for p, q in both)
    finally:
        dist.destroy_process_group()


def test_restoring_is_the_same_with_framer_and_without(folder):
    """FRAMER is in the loss alone: nothing of it is in the network that restores."""
    model = randomised(opened(folder))
    image, options = torch.rand(1, 3, 6, 5, generator=generator(2)), DiT4SRRestore(steps=2, text_tokens=5)
    before = model.restore_image(image, draws(), options)
    model.training_loss(batch(), FramerLoss(Recipe.named("released"))).total.backward()
    assert torch.equal(model.restore_image(image, draws(), options), before)
    assert not model.network._forward_hooks and not any(b._forward_hooks for b in model.network.transformer_blocks)


def test_a_whole_checkpoint_in_the_pipeline_folder_is_trained_on(folder, tmp_path):
    model = randomised(opened(folder))
    for name in ("vae", "text_encoder"):
        (tmp_path / name).symlink_to(folder / name)
    model.network.save_pretrained(tmp_path / "transformer")
    again = DiT4SR.open(tmp_path, settings_of("dit4sr"))
    again.adapt("control")
    assert all(torch.equal(p, again.adapter_state()[name]) for name, p in model.adapter_state().items())


def test_a_part_that_is_missing_is_one_line(folder, tmp_path):
    for name in ("transformer", "vae"):
        (tmp_path / name).symlink_to(folder / name)
    model = DiT4SR.open(tmp_path, settings_of("dit4sr"))
    with pytest.raises(UserError, match="its text encoders cannot be loaded") as caught:
        model.text.get([""], 5)
    assert "\n" not in str(caught.value)
    (tmp_path / "vae").unlink()
    with pytest.raises(UserError, match="vae: cannot be read") as caught:
        DiT4SR.open(tmp_path, settings_of("dit4sr"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["released", "fixed"])
def test_published_weights_become_a_run_and_a_delta(folder, tmp_path, key):
    trained = randomised(opened(folder, key=key))
    whole = {name: t.half() if "control" not in name else t for name, t in trained.network.state_dict().items()}
    save_file(whole, tmp_path / "whole.safetensors")
    write_card(folder, "base", ["transformer/config.json"], repo="owner/name")
    convert(tmp_path / "whole.safetensors", "dit4sr", "run", tmp_path / "runs/r", base=folder)
    run, card = load_run(tmp_path / "runs/r")
    assert run.settings.key == run.network.key == key and card["published"]["file"] == "whole.safetensors"
    assert all(torch.equal(p, run.adapter_state()[name]) for name, p in trained.adapter_state().items())
    convert(tmp_path / "runs/r", "dit4sr", "delta", tmp_path / "delta.safetensors")
    convert(tmp_path / "delta.safetensors", "dit4sr", "run", tmp_path / "runs/again", base=folder)
    convert(tmp_path / "runs/r", "dit4sr", "whole", tmp_path / "whole", base=folder)
    assert open_transformer(tmp_path / "whole", key)[1]
    weights = [(tmp_path / "runs" / name / "model.safetensors").read_bytes() for name in ("r", "again")]
    assert weights[0] == weights[1]
    save_file(whole | {"proj_out.bias": torch.ones(16)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"'proj_out\.bias' is not the base's"):
        convert(tmp_path / "other.safetensors", "dit4sr", "run", tmp_path / "runs/x", base=folder)
    assert not (tmp_path / "runs/x").exists()
