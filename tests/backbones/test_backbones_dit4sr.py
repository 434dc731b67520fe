"""DiT4SR: the published counts, two independent second implementations, and what its gradients must be."""

import pytest
import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from functional_dit4sr import forward

from framer.backbones import create
from framer.backbones.base import Batch, Draws, generator
from framer.backbones.dit4sr import DiT4SRTransformer
from framer.backbones.settings import DiT4SRRestore
from framer.method import FramerLoss, Recipe

SMALL = {
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 32,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 64,
    "out_channels": 16,
    "pos_embed_max_size": 24,
    "dual_attention_layers": (0, 1),
    "qk_norm": "rms_norm",
}


def random_network(**options):
    """All parameters random: at their zero start the LR stream would be invisible."""
    network = DiT4SRTransformer(**SMALL, **options)
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator(1, i)) * 0.2)
    return network


def inputs(height=8, width=12):
    numbers = [
        torch.randn(*shape, generator=generator(2, *shape)) for shape in ((2, 16, height, width), (2, 5, 32), (2, 64))
    ]
    lr = torch.randn(2, 16, height, width, generator=generator(3))
    return numbers[0], lr, numbers[1], numbers[2], torch.tensor([37.0, 870.0])


def test_counts_of_the_released_model():
    with torch.device("meta"):
        network = DiT4SRTransformer(
            num_layers=24,
            num_attention_heads=24,
            caption_projection_dim=1536,
            pos_embed_max_size=384,
            dual_attention_layers=tuple(range(13)),
            qk_norm="rms_norm",
        )
    state = network.state_dict()
    control = {name: p.numel() for name, p in network.named_parameters() if "control" in name}
    live = {name: size for name, size in control.items() if "to_k_control" not in name}
    assert sum(p.numel() for p in network.parameters()) == 2_716_814_144
    assert (len(state), sum(t.numel() for t in state.values())) == (1383, 2_943_306_560)
    assert (len(control), sum(control.values())) == (344, 350_877_696)
    assert (len(live), sum(live.values())) == (270, 263_526_912)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 12)])
@pytest.mark.parametrize("key", ["released", "fixed"])
def test_agrees_with_an_independent_forward(key, height, width):
    network, given = random_network(key=key, injection_scale=1.2), inputs(height, width)
    with torch.no_grad():
        expected = forward(network.state_dict(), SMALL, *given, key=key, scale=1.2)
        assert torch.allclose(network(*given), expected, atol=1e-5)
        other = "fixed" if key == "released" else "released"
        assert (expected - forward(network.state_dict(), SMALL, *given, key=other, scale=1.2)).abs().max() > 1e-2
        assert (expected - forward(network.state_dict(), SMALL, *given, key=key, scale=1.0)).abs().max() > 1e-3


def test_without_an_lr_stream_it_is_stable_diffusion_3():
    ours, stock = random_network(), SD3Transformer2DModel(**SMALL)
    stock.load_state_dict({name: ours.state_dict()[name] for name in stock.state_dict()})
    noisy, _, text, pooled, timestep = inputs()
    with torch.no_grad():
        expected = stock(noisy, text, pooled, timestep, return_dict=False)[0]
        assert torch.allclose(ours(noisy, None, text, pooled, timestep), expected, atol=1e-6)


def test_at_its_start_the_lr_image_changes_nothing():
    network, (noisy, lr, *rest) = DiT4SRTransformer(**SMALL), inputs()
    with torch.no_grad():
        assert torch.equal(network(noisy, lr, *rest), network(noisy, -lr, *rest))
        assert not torch.equal(network(noisy, lr, *rest), network(noisy, None, *rest))


def test_dead_weights_get_no_gradient():
    network = random_network()
    network(*inputs()).square().sum().backward()
    dead = {name for name, p in network.named_parameters() if p.grad is None}
    text = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "norm_added_q", "norm_added_k")
    assert dead == {
        name
        for name, _ in network.named_parameters()
        if "to_k_control" in name or ("attn2" in name and any(part in name for part in text))
    }
    fixed = random_network(key="fixed")
    fixed(*inputs()).square().sum().backward()
    assert all(p.grad is not None for name, p in fixed.named_parameters() if "control" in name)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return create("dit4sr", "tiny")


def test_training_moves_control_weights_and_nothing_else(tiny):
    tiny.adapt("control")
    trained = tiny.trainable()
    assert trained and all("control" in name and "to_k_control" not in name for name in trained)
    assert trained.keys() == tiny.adapter_state().keys()
    hr = torch.rand(2, 3, 32, 32, generator=generator(0))
    tiny.training_loss(Batch(hr[..., ::4, ::4], hr, ("a", "b"), Draws.of_step(0, 0, 0, 2))).total.backward()
    assert all(p.grad is not None for p in trained.values())
    assert all(p.grad is None for name, p in tiny.network.named_parameters() if name not in trained)


def test_framer_adds_its_term_and_leaves_the_flow_loss_alone(tiny):
    tiny.adapt("control")
    hr = torch.rand(2, 3, 32, 32, generator=generator(0))
    plain = tiny.training_loss(Batch(hr[..., ::4, ::4], hr, ("a", "b"), Draws.of_step(0, 0, 0, 2)))
    framed = tiny.training_loss(
        Batch(hr[..., ::4, ::4], hr, ("a", "b"), Draws.of_step(0, 0, 0, 2)), FramerLoss(Recipe.named("released"))
    )
    assert torch.equal(framed.terms["flow"], plain.terms["flow"])
    assert torch.allclose(framed.total, plain.total + framed.terms["framer"]) and framed.terms["framer"] > 0


def test_a_perfect_velocity_restores_the_image_in_any_number_of_steps(tiny, monkeypatch):
    """With v = eps - z_0 Euler walks straight from the noise to the image, along (1 - sigma) z_0 + sigma eps."""
    hr = torch.rand(1, 3, 32, 32, generator=generator(0))
    clean = tiny.codec.encode(hr)
    noise = Draws((generator(5),), generator(5)).normal(*clean.shape[1:])

    def velocity(noisy, lr_latent, sigma, text, codes):
        assert torch.allclose(noisy, (1 - sigma) * clean + sigma * noise, atol=1e-5)
        assert torch.equal(lr_latent, clean)
        visited.append(sigma.item())
        return noise - clean

    monkeypatch.setattr(tiny, "velocity", velocity)
    for steps in (1, 3, 10):
        visited = []
        restored = tiny.restore(hr, Draws((generator(5),), generator(5)), DiT4SRRestore(steps=steps))
        assert torch.allclose(restored, hr, atol=1e-5)
        assert len(visited) == steps and visited[0] == 1 and visited == sorted(visited, reverse=True)


def test_noise_belongs_to_the_image_not_to_the_batch(tiny):
    image = torch.rand(2, 3, 32, 32, generator=generator(0))

    def draws(*names):
        return Draws(tuple(generator(9, name) for name in names), generator(9))

    with torch.no_grad():
        together = tiny.restore(image, draws("a", "b"), DiT4SRRestore(steps=2))
        alone = torch.cat(
            [tiny.restore(image[i : i + 1], draws(name), DiT4SRRestore(steps=2)) for i, name in enumerate("ab")]
        )
    assert torch.allclose(together, alone, atol=1e-5)
