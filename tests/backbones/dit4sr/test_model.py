"""DiT4SR as a backbone: what trains, what its loss is, and how it restores, on the tiny configuration."""

import pytest
import torch

from framer.backbones.base import Batch
from framer.backbones.dit4sr.losses import Latents, Step
from framer.backbones.dit4sr.settings import DiT4SRRestore
from framer.backbones.image_ops import upsample_torch
from framer.backbones.random import Draws, generator
from framer.backbones.registry import create
from framer.method import FramerLoss, FrequencyLoss, Recipe


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


@pytest.mark.parametrize("space", ["x0", "output"])
def test_deep_supervision_has_the_gradient_of_its_formula(tiny, space):
    """Every block but the last, through the network's own last layer, against z_0: written out from the description."""
    with torch.no_grad():
        for parameter in tiny.network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    tiny.adapt("control")
    hr = torch.rand(2, 3, 32, 32, generator=generator(0))
    recipe = Recipe(teacher="truth", objective="l2", space=space, weight=0.5)
    data = [Batch(hr[..., ::4, ::4], hr, ("a", "b"), Draws.of_step(0, 0, 0, 2)) for _ in range(3)]
    tiny.training_loss(data[0], FramerLoss(recipe)).total.backward()
    got = {name: p.grad.clone() for name, p in tiny.trainable().items()}

    tiny.network.zero_grad()
    students, final = tiny.layer_maps(data[1], space)  # these maps are tested where they are made
    clean = tiny.codec.encode(hr)
    step = Step.drawn(
        tiny, Latents(clean, tiny.codec.encode(upsample_torch(hr[..., ::4, ::4]))), ("", ""), data[2].draws
    )
    level = step.sigma.reshape(-1, 1, 1, 1)
    target = clean if space == "x0" else (step.noisy - clean) / level
    velocity = (step.noisy - final) / level if space == "x0" else final
    total = ((step.noisy - level * velocity - clean) ** 2).mean()
    total = total + 0.5 * sum(((student - target) ** 2).mean() for student in students[:-1])
    total.backward()
    for name, parameter in tiny.trainable().items():
        largest = parameter.grad.abs().max()
        assert (got[name] - parameter.grad).abs().max() <= 1e-4 * largest, name


def test_a_frequency_loss_compares_the_estimate_with_the_clean_latent(tiny):
    tiny.adapt("control")
    hr = torch.rand(2, 3, 32, 32, generator=generator(0))
    framer, seen = FrequencyLoss(Recipe(objective="spectrum_l1")), []
    framer.register_forward_hook(lambda _, args, out: seen.extend([*args, out.loss]))
    loss = tiny.training_loss(Batch(hr[..., ::4, ::4], hr, ("a", "b"), Draws.of_step(0, 0, 0, 2)), framer)
    estimate, clean, expected = seen
    assert torch.equal(clean, tiny.codec.encode(hr))
    assert torch.allclose((estimate - clean).square().mean(), loss.terms["flow"])
    assert torch.equal(loss.total, loss.terms["flow"] + expected) and torch.equal(loss.terms["frequency"], expected)


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
