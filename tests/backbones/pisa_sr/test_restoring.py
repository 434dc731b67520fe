"""Restoring: adjustable weights against merged networks, no state between images, tiles, any size."""

import pytest
import torch

from framer.backbones.image_ops import upsample
from framer.backbones.pisa_sr.config import Parts
from framer.backbones.pisa_sr.lora import lora_state
from framer.backbones.pisa_sr.model import PiSASR
from framer.backbones.pisa_sr.restoring import tiled_residual, weighted_residual
from framer.backbones.pisa_sr.settings import PiSASRRestore
from framer.backbones.random import Draws, generator
from framer.backbones.registry import create, settings_of
from framer.backbones.tiling import Tiles
from tests.backbones.pisa_sr.sd_folder import UNET, small_vae

LATENT = torch.randn(2, 48, 8, 10, generator=generator(0))
PLAIN = {"color": "none"}


def draws(seed=0):
    return Draws((generator(seed),), generator(seed))


def options(**given):
    return PiSASRRestore(**(PLAIN | given))


def perturbed(model, scale=0.1):
    """Both LoRA sets at random, on a network whose last layer lets them through."""
    with torch.no_grad():
        model.network.conv_out.weight.normal_(0, scale, generator=generator(2))
    model.adapt("pixel")
    model.adapt("semantic")
    with torch.no_grad():
        for i, tensor in enumerate(lora_state(model.network).values()):
            tensor.copy_(torch.randn(tensor.shape, generator=generator(3, i)) * scale)
    return model


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return perturbed(create("pisa_sr", "tiny"))


@pytest.fixture(scope="module")
def latent_diffusion():
    """A small model with a VAE, whose smallest image is 64 pixels."""
    torch.manual_seed(0)
    config = {"multiple": 8, "process_size": 64, "prompt_tokens": 3, "unet": UNET}
    parts = Parts.random(config | {"vae": dict(small_vae().config)})
    model = PiSASR(config, settings_of("pisa_sr"), parts)
    return perturbed(model, 0.02)


def merged(model, pix, sem):
    """A plain U-Net with W + 2 (pix B_pix A_pix + sem B_sem A_sem), from the tensors alone."""
    torch.manual_seed(0)
    plain = create("pisa_sr", "tiny").network
    lora = lora_state(model.network)
    state = {
        n.replace(".base_layer", ""): p.detach().clone() for n, p in model.network.state_dict().items() if n not in lora
    }
    for name, a in lora.items():
        if ".lora_A." in name:
            b = lora[name.replace(".lora_A.", ".lora_B.")]
            weight = state[name.split(".lora_A.")[0] + ".weight"]
            weight += 2 * {"pix": pix, "sem": sem}[name[-10:-7]] * (b.flatten(1) @ a.flatten(1)).reshape(weight.shape)
    plain.load_state_dict(state)
    return plain


def residual(unet, prompt, latent=LATENT):
    with torch.no_grad():
        return unet(latent, 1, encoder_hidden_states=prompt.expand(len(latent), -1, -1), return_dict=False)[0]


@pytest.mark.parametrize(("pix", "sem"), [(1, 1), (0.7, 1.3), (1, 0), (0, 1), (0.5, 0.5), (1.2, 0), (0, 0), (0.3, 1)])
def test_adjusted_residuals_equal_those_of_merged_networks(tiny, pix, sem):
    prompt = tiny.text.kept[""]
    pixel, both = residual(merged(tiny, 1, 0), prompt), residual(merged(tiny, 1, 1), prompt)
    expected = pix * pixel + sem * (both - pixel)
    with torch.no_grad():
        found = weighted_residual(tiny, LATENT, options(lambda_pix=pix, lambda_sem=sem))
    assert (pixel - both).abs().max() > 0.1
    assert (found - expected).abs().max() <= 1e-5 * max(1.0, both.abs().max().item())


def test_lambdas_of_one_are_the_default(tiny):
    lr = torch.rand(1, 3, 8, 10, generator=generator(5))
    default = tiny.restore_image(lr, draws())
    assert torch.equal(tiny.restore_image(lr, draws(), PiSASRRestore(lambda_pix=1, lambda_sem=1)), default)
    # Two passes come to the same; they run whenever the two differ.
    near = tiny.restore_image(lr, draws(), PiSASRRestore(lambda_pix=1, lambda_sem=1 + 1e-7))
    assert (near - default).abs().max() < 1e-5


def test_no_image_leaves_anything_to_the_next(tiny):
    lr = torch.rand(1, 3, 8, 10, generator=generator(5))
    before = {name: p.detach().clone() for name, p in tiny.network.named_parameters()}
    trains = {name for name, p in tiny.network.named_parameters() if p.requires_grad}
    adjusted = [tiny.restore_image(lr, draws(), options(lambda_pix=0.5)) for _ in range(3)]
    default = tiny.restore_image(lr, draws(), options())
    again = tiny.restore_image(lr, draws(), options(lambda_pix=0.5))
    assert all(torch.equal(one, again) for one in adjusted) and not torch.equal(default, again)
    assert all(torch.equal(p, before[name]) for name, p in tiny.network.named_parameters())
    assert {name for name, p in tiny.network.named_parameters() if p.requires_grad} == trains


def test_bfloat16_has_no_state_either(tiny):
    """The released code's second image differs from its first in half precision: it re-adds cached differences."""
    torch.manual_seed(0)
    model = perturbed(create("pisa_sr", "tiny"))
    model.to("cpu", torch.bfloat16)
    assert {p.dtype for n, p in model.network.named_parameters() if ".lora_" not in n} == {torch.bfloat16}
    assert all(torch.equal(p, lora_state(tiny.network)[n]) for n, p in lora_state(model.network).items())
    lr = torch.rand(1, 3, 8, 10, generator=generator(5))
    images = [model.restore_image(lr, draws(), options(lambda_pix=0.7, lambda_sem=1.3)) for _ in range(3)]
    assert torch.equal(images[0], images[1]) and torch.equal(images[0], images[2])
    exact = tiny.restore_image(lr, draws(), options(lambda_pix=0.7, lambda_sem=1.3))
    assert (images[0] - exact).abs().mean() < 0.05


def test_a_pixel_run_alone_restores(tiny):
    torch.manual_seed(0)
    model = create("pisa_sr", "tiny")
    with torch.no_grad():
        model.network.conv_out.weight.normal_(0, 0.1, generator=generator(2))
    model.adapt("pixel")
    lr = torch.rand(1, 3, 8, 10, generator=generator(5))
    half = model.restore_image(lr, draws(), options(lambda_pix=0.5))
    whole, start = model.restore_image(lr, draws(), options()), upsample(lr)
    # Half the residual is half the way, where nothing was clamped.
    inside = (whole > 0) & (whole < 1) & (half > 0) & (half < 1)
    assert torch.allclose(half[inside], ((whole + start) / 2)[inside], atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (5, 9), (33, 31), (8, 40)])
def test_the_output_is_exactly_four_times_the_input(latent_diffusion, height, width):
    lr = torch.rand(1, 3, height, width, generator=generator(6))
    image = latent_diffusion.restore_image(lr, draws(), PiSASRRestore(tile=12, overlap=4, vae_tile=64))
    assert image.shape == (1, 3, 4 * height, 4 * width)
    assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1


def test_small_images_are_enlarged_for_the_network_alone(latent_diffusion, monkeypatch):
    seen = []
    whole = latent_diffusion.restore

    def restore(upsampled, *args, **kwargs):
        seen.append(tuple(upsampled.shape[-2:]))
        return whole(upsampled, *args, **kwargs)

    monkeypatch.setattr(latent_diffusion, "restore", restore)
    for height, width in ((4, 6), (16, 16), (30, 20), (1, 40), (2, 80)):
        latent_diffusion.restore_image(torch.rand(1, 3, height, width), draws(), options())
    # 16 x 24 to a short side of 64; 4 x 160 would be 2560 long, so only to 256; 8 x 320 is long enough as it is.
    assert seen == [(64, 96), (64, 64), (120, 80), (8, 256), (8, 320)]


def test_narrow_images_go_through_tiles(latent_diffusion):
    """A latent of 8 x 40 with tiles of 16: the released code stops here, its Gaussian being larger than the tile."""
    lr = torch.rand(1, 3, 16, 80, generator=generator(7))
    tiled = latent_diffusion.restore_image(lr, draws(), options(tile=16, overlap=4))
    assert tiled.shape == (1, 3, 64, 320)


def test_tiles_are_blended_by_their_weights_whatever_the_batch(latent_diffusion):
    latent = torch.randn(1, 4, 20, 26, generator=generator(8))
    given = options(tile=12, overlap=4)
    tiles = Tiles.plan(20, 26, 12, 4)
    weight = tiles.weight()
    total, norm = torch.zeros_like(latent), torch.zeros(20, 26)
    with torch.no_grad():
        for top, left in tiles.corners:
            at = (..., slice(top, top + 12), slice(left, left + 12))
            total[at] += weight * weighted_residual(latent_diffusion, latent[at], given)
            norm[at[1:]] += weight
        found = [
            tiled_residual(latent_diffusion, latent, options(tile=12, overlap=4, tile_batch=batch))
            for batch in (1, 3, 100)
        ]
    for one in found:
        assert torch.allclose(one, total / norm, atol=1e-5)


def test_the_mode_needs_no_seed_and_a_sample_is_its_seed_s(latent_diffusion):
    lr = torch.rand(1, 3, 16, 16, generator=generator(9))
    mode = [latent_diffusion.restore_image(lr, draws(seed), options()) for seed in (1, 2)]
    assert torch.equal(*mode)
    sample = [latent_diffusion.restore_image(lr, draws(seed), options(posterior="sample")) for seed in (1, 1, 2)]
    assert torch.equal(sample[0], sample[1]) and not torch.equal(sample[0], sample[2])
    assert not torch.equal(sample[0], mode[0])


def test_the_color_fix_is_against_the_upsampled_image(latent_diffusion):
    lr = torch.rand(1, 3, 18, 22, generator=generator(10)) * 0.2 + 0.4
    start = upsample(lr)
    fixed = latent_diffusion.restore_image(lr, draws(), PiSASRRestore(color="adain"))
    plain = latent_diffusion.restore_image(lr, draws(), options())
    assert torch.allclose(fixed.mean((2, 3)), start.mean((2, 3)), atol=1e-3)
    assert torch.allclose(fixed.std((2, 3)), start.std((2, 3)), atol=2e-3)
    assert not torch.allclose(plain.mean((2, 3)), start.mean((2, 3)), atol=1e-3)
