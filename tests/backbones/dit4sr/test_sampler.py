"""The sampler of DiT4SR against a plain loop, in tiles and whole, guided and not."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from framer.backbones.dit4sr.sampler import Sampler
from framer.backbones.dit4sr.settings import DiT4SRRestore
from framer.backbones.dit4sr.text_encoder import ConstantText, PromptTable
from framer.backbones.image_ops import upsample
from framer.backbones.random import Draws, generator
from framer.backbones.registry import create
from framer.errors import UserError

PLAIN = {"steps": 3, "guidance": 1.0, "color": "none", "injection_scale": 1.0}


@pytest.fixture
def model():
    """Random weights everywhere, and texts that differ by prompt."""
    torch.manual_seed(0)
    model = create("dit4sr", "tiny")
    model.adapt("control")
    with torch.no_grad():
        for i, parameter in enumerate(model.network.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator(1, i)) * 0.08)
    model.text = PromptTable(ConstantText(tokens=3, width=32, pooled=32, scale=1.0))
    model.network.eval()
    return model


def draws(seed=5):
    return Draws((generator(seed),), generator(seed))


def picture(height=64, width=96):
    return torch.rand(1, 3, height, width, generator=generator(2))


def plain_loop(model, upsampled, options, tile, stride_starts, guidance, texts):
    """Tile by tile and text by text, with the Gaussian written out."""
    lr = model.codec.encode(upsampled)
    z = torch.randn(lr.shape[1:], generator=generator(5))[None]
    steps = options.steps
    first = torch.linspace(1000, 1, 1000) / 1000  # the table of training, shifted; its ends bound the steps
    first = 3 * first / (1 + 2 * first)
    t = torch.linspace(first[0], first[-1], steps)
    sigmas = [*(3 * t / (1 + 2 * t)).tolist(), 0.0]
    h, w = z.shape[-2:]
    for now, then in pairwise(sigmas):
        total, norm = torch.zeros_like(z), torch.zeros(h, w)
        for top in stride_starts[0]:
            for left in stride_starts[1]:
                rows, columns = slice(top, top + min(tile, h)), slice(left, left + min(tile, w))
                part = z[..., rows, columns]
                height, width = part.shape[-2:]
                y = torch.exp(-((((torch.arange(height) - (height - 1) / 2) / height) ** 2) / 0.02))
                x = torch.exp(-((((torch.arange(width) - (width - 1) / 2) / width) ** 2) / 0.02))
                vs = [
                    model.network(part, lr[..., rows, columns], text.tokens, text.pooled, torch.tensor([1000 * now]))
                    for text in texts
                ]
                v = vs[0] if len(vs) == 1 else vs[0] + guidance * (vs[1] - vs[0])
                total[..., rows, columns] += v * y[:, None] * x
                norm[rows, columns] += y[:, None] * x
        z = z + (then - now) * total / norm
    return model.codec.decode(z)


@torch.no_grad()
def test_whole_without_guidance(model):
    options = DiT4SRRestore(**PLAIN, positive="")
    text = model.text.get([""], options.text_tokens)
    model.network.injection_scale = 1.0
    expected = plain_loop(model, picture(), options, 64, ([0], [0]), 1, [text])
    assert torch.allclose(model.restore(picture(), draws(), options), expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 4])
def test_tiles_and_guidance(model, batch):
    """64 x 96 pixels are 16 x 24 latent positions: tiles of 16 at columns 0, 6 and 8."""
    options = DiT4SRRestore(
        **PLAIN | {"guidance": 4.0}, tile=16, overlap=10, tile_batch=batch, positive="x", negative="y"
    )
    texts = [model.text.get([name], options.text_tokens) for name in ("y", "a cat x")]
    model.network.injection_scale = 1.0
    expected = plain_loop(model, picture(), options, 16, ([0], [0, 6, 8]), 4.0, texts)
    result = model.restore(picture(), draws(), options, prompt="a cat")
    assert torch.allclose(result, expected, atol=1e-3 * expected.abs().max())
    other = model.restore(picture(), draws(), options, prompt="a dog")
    assert (other - result).abs().max() > 1e-2


@torch.no_grad()
def test_guidance_between_equal_texts_costs_nothing(model, monkeypatch):
    model.text = PromptTable(ConstantText(tokens=1, width=32, pooled=32))
    sizes = []
    forward = model.velocity
    monkeypatch.setattr(model, "velocity", lambda noisy, *rest: sizes.append(len(noisy)) or forward(noisy, *rest))
    guided = model.restore(picture(), draws(), DiT4SRRestore(**PLAIN | {"guidance": 8.0}))
    assert torch.equal(guided, model.restore(picture(), draws(), DiT4SRRestore(**PLAIN)))
    assert set(sizes) == {1}


@torch.no_grad()
@pytest.mark.parametrize("key", ["released", "fixed"])
def test_fused_is_equal(key):
    torch.manual_seed(0)
    model = create("dit4sr", "tiny", {"key": key})
    model.adapt("control")
    with torch.no_grad():
        for i, parameter in enumerate(model.network.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator(1, i)) * 0.08)
    model.network.eval()
    plain = model.restore(picture(), draws(), DiT4SRRestore(**PLAIN))
    fused = model.restore(picture(), draws(), DiT4SRRestore(**PLAIN, fuse=True))
    assert model.network.fused and torch.allclose(fused, plain, atol=1e-4 * plain.abs().max())


@torch.no_grad()
def test_global_positions_differ_in_tiles_only(model):
    whole = [model.restore(picture(), draws(), DiT4SRRestore(**PLAIN, positions=p)) for p in ("local", "global")]
    assert torch.equal(*whole)
    tiled = [
        model.restore(picture(), draws(), DiT4SRRestore(**PLAIN, tile=16, overlap=8, positions=p))
        for p in ("local", "global")
    ]
    assert (tiled[0] - tiled[1]).abs().max() > 1e-3


@torch.no_grad()
def test_an_image_beyond_the_position_codes_needs_local_positions(model):
    """The table of the tiny base reaches 64 tokens, which is 512 pixels."""
    lr = torch.rand(1, 3, 4, 132, generator=generator(2))
    options = {**PLAIN, "steps": 1}
    assert model.restore_image(lr, draws(), DiT4SRRestore(**options)).shape == (1, 3, 16, 528)
    with pytest.raises(UserError, match="exceeds the table of 64 x 64 position codes"):
        model.restore_image(lr, draws(), DiT4SRRestore(**options, positions="global"))


@torch.no_grad()
def test_small_images_are_enlarged_to_what_the_base_was_made_for(model, monkeypatch):
    model.process_size = 64
    seen = []
    monkeypatch.setattr(Sampler, "restore", lambda self, image, *_, **__: seen.append(tuple(image.shape[-2:])) or image)
    lr = F.interpolate(torch.rand(1, 3, 2, 3, generator=generator(2)), scale_factor=4, mode="bicubic").clamp(0, 1)
    result = model.restore_image(lr, draws())
    assert seen == [(64, 96)] and result.shape == (1, 3, 32, 48)
    assert (result - upsample(lr)).abs().mean() < 0.05  # up, up and down again: the image, a little blurred
    model.restore_image(torch.rand(1, 3, 1, 60), draws())
    assert seen[-1] == (4, 256)  # a stripe of 4 x 240 is made no longer than 4 x 64


@torch.no_grad()
def test_an_adapted_model_restores_without_losing_what_it_trains(model):
    """Restoring in half precision converts the network only when it is not in training."""
    model.network.train()
    before = {name: p.clone() for name, p in model.trainable().items()}
    model.to("cpu", torch.bfloat16)
    model.restore(picture(), draws(), DiT4SRRestore(**PLAIN, fuse=True))
    assert not model.network.fused
    assert all(torch.equal(p, before[name]) for name, p in model.trainable().items())
    model.network.eval()
    model.restore(picture(), draws(), DiT4SRRestore(**PLAIN))
    assert {p.dtype for p in model.network.parameters()} == {torch.bfloat16}
