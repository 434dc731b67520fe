"""External frequency losses against the authors' package, NumPy, and what must hold of them."""

import numpy as np
import pytest
import torch
from focal_frequency_loss import FocalFrequencyLoss

from framer.errors import UserError
from framer.method import FramerLoss, FrequencyLoss, Recipe

FOCAL = Recipe(objective="focal_frequency", weight=0.3)
L1 = Recipe(objective="spectrum_l1", weight=0.3)


def maps(shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return one.requires_grad_(), other


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 4, 7, 10), (3, 1, 6, 5)], ids=str)
def test_focal_is_the_loss_of_its_authors(shape, alpha):
    estimate, truth = maps(shape, dtype=torch.float32)
    loss = FrequencyLoss(Recipe(objective="focal_frequency", weight=0.3, alpha=alpha))(estimate, truth).loss
    (gradient,) = torch.autograd.grad(loss, estimate)
    theirs = FocalFrequencyLoss(loss_weight=0.3, alpha=alpha)(estimate, truth)
    (expected,) = torch.autograd.grad(theirs, estimate)
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert (gradient - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 7, 5)], ids=str)
def test_l1_is_the_mean_of_the_full_spectrum(shape):
    estimate, truth = maps(shape)
    apart = np.fft.fft2((estimate - truth).detach().numpy(), norm="ortho")
    assert FrequencyLoss(L1)(estimate, truth).loss.item() == pytest.approx(0.3 * np.abs(apart).mean(), rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: FrequencyLoss(L1)(x, truth).loss, estimate)


def test_without_focus_it_is_the_squared_error():
    """Parseval."""
    estimate, truth = maps((2, 3, 6, 9))
    loss = FrequencyLoss(Recipe(objective="focal_frequency", alpha=0.0))(estimate, truth).loss
    assert loss.item() == pytest.approx((estimate - truth).square().mean().item(), rel=1e-12)


@pytest.mark.parametrize("recipe", [FOCAL, L1], ids=["focal", "l1"])
def test_equal_maps_have_neither_loss_nor_gradient(recipe):
    estimate, _ = maps((2, 3, 6, 6))
    loss = FrequencyLoss(recipe)(estimate, estimate.detach().clone()).loss
    (gradient,) = torch.autograd.grad(loss, estimate)
    assert loss == 0 and not gradient.any()


def test_each_recipe_has_one_loss_and_spaces_that_it_can_compare_in():
    mistakes = {
        "recipe.objective": [lambda: FramerLoss(FOCAL), lambda: FrequencyLoss(Recipe())],
        "recipe.space": [lambda: Recipe(space="image"), lambda: Recipe(objective="spectrum_l1", space="output")],
        "recipe.alpha": [lambda: Recipe(alpha=-1.0)],
        "estimate": [lambda: FrequencyLoss(L1)(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))],
    }
    for key, calls in mistakes.items():
        for call in calls:
            with pytest.raises(UserError) as error:
                call()
            assert error.value.key == key
