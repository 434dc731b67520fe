"""The VAE as a codec: scaling, sampling, and tiles for any size."""

import pytest
import torch

from framer.backbones.random import generator
from framer.backbones.vae import VaeCodec
from tests.backbones.pisa_sr.sd_folder import small_vae

IMAGE = torch.rand(2, 3, 48, 64, generator=generator(0))


@pytest.fixture(scope="module")
def codec():
    return VaeCodec(small_vae())


def test_latents_are_scaled_and_decoding_takes_it_back(codec):
    vae = codec.vae
    assert (codec.factor, codec.channels) == (8, 4)
    with torch.no_grad():
        mean, log_variance = vae.quant_conv(vae.encoder(IMAGE * 2 - 1)).chunk(2, dim=1)
        latent = codec.encode(IMAGE)
        assert latent.shape == (2, 4, 6, 8)
        assert torch.allclose(latent, mean * 0.18215, atol=1e-6)
        expected = vae.decoder(vae.post_quant_conv(mean)) / 2 + 0.5
        assert torch.allclose(codec.decode(latent), expected, atol=1e-5)
        draws = [torch.randn(4, 6, 8, generator=generator(3, i)) for i in range(2)]
        sampled = codec.encode(IMAGE, [generator(3, i) for i in range(2)])
        std = (log_variance.clamp(-30, 20) / 2).exp()
        assert torch.allclose(sampled, (mean + std * torch.stack(draws)) * 0.18215, atol=1e-6)


def test_a_shifted_vae():
    vae = small_vae()
    vae.register_to_config(shift_factor=0.5, scaling_factor=2.0)
    with torch.no_grad():
        plain, shifted = VaeCodec(small_vae()), VaeCodec(vae)
        latent = shifted.encode(IMAGE)
        assert torch.allclose(latent, (plain.encode(IMAGE) / 0.18215 - 0.5) * 2, atol=1e-5)
        assert torch.allclose(shifted.decode(latent), plain.decode(plain.encode(IMAGE)), atol=1e-5)


def test_a_sample_depends_on_its_own_generator_alone(codec):
    with torch.no_grad():
        both = codec.encode(IMAGE, [generator(3, i) for i in range(2)])
        assert torch.allclose(codec.encode(IMAGE[1:], [generator(3, 1)]), both[1:], atol=1e-5)


def test_gradients_flow_through_it_and_not_into_it(codec):
    latent = torch.randn(1, 4, 4, 4, requires_grad=True)
    codec.decode(latent).square().mean().backward()
    assert latent.grad is not None and latent.grad.abs().max() > 0
    assert all(p.grad is None and not p.requires_grad for p in codec.parameters())


def test_bfloat16_gives_float32_latents():
    codec = VaeCodec(small_vae()).to(torch.bfloat16)
    with torch.no_grad():
        latent = codec.encode(IMAGE)
        assert latent.dtype == codec.decode(latent).dtype == torch.float32
        exact = VaeCodec(small_vae()).encode(IMAGE)
        assert (latent - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 200), (136, 8), (72, 64), (64, 72), (128, 96), (104, 112)])
def test_tiles_survive_any_size(codec, height, width):
    image = torch.rand(1, 3, height, width, generator=generator(4))
    with torch.no_grad():
        codec.tile = 64
        try:
            latent = codec.encode(image)
            again = codec.decode(latent)
        finally:
            codec.tile = None
        assert latent.shape == (1, 4, height // 8, width // 8) and again.shape == image.shape
        assert latent.isfinite().all() and again.isfinite().all()
        whole = codec.encode(image)
        if max(height, width) <= 64:
            assert torch.equal(latent, whole)
        else:  # tiles see less of the image; they are close, and not the same
            assert (latent - whole).abs().mean() < 0.5 * whole.std()


def test_tiles_leave_nothing_switched_on(codec):
    codec.tile = 64
    with torch.no_grad():
        codec.encode(torch.rand(1, 3, 72, 72))
    codec.tile = None
    assert not codec.vae.use_tiling
