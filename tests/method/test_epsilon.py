"""The constant that keeps the adaptive weights finite."""

import pytest
import torch

from framer.method import loss, spectrum
from framer.method.bands import radius
from framer.method.loss import FramerLoss
from framer.method.recipe import Recipe


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6, 1e-4])
def test_the_epsilon_of_the_weights_does_not_matter(epsilon, monkeypatch):
    """On maps with the 1/f spectrum and the variance of latents; so it is no field of a recipe."""
    generator = torch.Generator().manual_seed(0)
    weight = 1 / (1 + 32 * radius(32, 32))
    noise = (torch.randn(3, 4, 32, 32, generator=generator, dtype=torch.float64) for _ in range(5))
    students = [torch.fft.irfft2(torch.fft.rfft2(x) * weight, s=(32, 32)) for x in noise]
    students = [(x / x.std()).requires_grad_() for x in students]
    found = []
    for value in (1e-9, epsilon):
        monkeypatch.setattr(spectrum, "EPS", value)
        monkeypatch.setattr(loss, "EPS", value)
        total = FramerLoss(Recipe.named("paper"))(students, students[-1].detach(), [1, 2, 3, 0, 0]).loss
        found.append([total, *torch.autograd.grad(total, students[:-1])])
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-5 * one.abs().max()
