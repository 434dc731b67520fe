"""Bands of any map: every coefficient in exactly one, twins together."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framer.method import bands
from framer.method.recipe import Recipe
from framer.method.spectrum import Masks, magnitude

sides = st.integers(1, 12)
cutoffs = st.floats(0.01, 0.99)


def full(mask, width):
    """A mask of the half spectrum on the full one: the left-out columns are those of the twins."""
    twin = mask.flip(-2).roll(1, -2)
    left_out = twin[..., 1 : (width + 1) // 2].flip(-1)
    return torch.cat([mask, left_out], dim=-1)


def symmetric(mask):
    """Whether every coefficient and its twin agree."""
    return torch.equal(mask, mask.flip(-2, -1).roll((1, 1), (-2, -1)))


@settings(max_examples=60, deadline=None)
@given(sides, sides, cutoffs)
def test_radial_masks_are_the_discs_of_the_full_spectrum(height, width, cutoff):
    mask = bands.radial(height, width, cutoff)
    y, x = (np.fft.fftfreq(n) * 2 for n in (height, width))
    distance = np.hypot(y[:, None], x)
    clear = np.abs(distance - cutoff) > 1e-6
    assert mask.shape == (height, width // 2 + 1)
    assert symmetric(full(mask, width))
    assert ((full(mask, width).numpy() == (distance < cutoff)) | ~clear).all()
    assert mask[0, 0], "zero frequency is low"


@pytest.mark.parametrize(("side", "cutoff"), [(10, 0.2), (20, 0.1), (20, 0.3), (64, 0.5), (30, 0.6), (70, 0.2)])
def test_a_coefficient_on_the_circle_is_high(side, cutoff):
    k = round(cutoff * side / 2)
    mask = bands.radial(side, side, cutoff)
    assert not mask[k, 0] and not mask[0, k] and not mask[-k, 0]
    assert mask[k - 1, 0] and mask[0, k - 1]


@settings(max_examples=60, deadline=None)
@given(sides, sides, cutoffs, st.integers(0, 9))
def test_quantile_masks_agree_with_the_full_spectrum(height, width, cutoff, seed):
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mask = bands.quantile(torch.fft.rfft2(x).abs(), width, cutoff)
    spectrum = np.abs(np.fft.fft2(x.numpy()))
    for image, got in zip(spectrum, full(mask, width).numpy(), strict=True):
        threshold = np.quantile(image, cutoff)
        clear = np.abs(image - threshold) > 1e-9
        assert ((got == (image < threshold)) | ~clear).all()
    assert symmetric(full(mask, width))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 99), st.sampled_from([torch.float32, torch.float64]))
def test_a_threshold_on_a_pair_leaves_both_high(height, width, seed, dtype):
    """Every order statistic in turn as the threshold: neither rounding nor interpolation ever parts a pair."""
    x = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    spectrum = torch.fft.rfft2(x).abs()
    count = height * width
    ordered = np.sort(np.abs(np.fft.fft2(x.double().numpy())).ravel())
    for k in range(1, count - 1):
        mask = full(bands.quantile(spectrum, width, k / (count - 1)), width)[0, 0]
        assert symmetric(mask)
        tied = np.abs(ordered - ordered[k]) < 1e-5 * ordered[-1]
        assert tied.argmax() <= int(mask.sum()) <= k + 1


def test_equal_magnitudes_are_all_high():
    x = torch.zeros(1, 2, 6, 6)
    x[..., 2, 3] = 1.0
    assert not bands.quantile(torch.fft.rfft2(x).abs().round(decimals=4), 6, 0.2).any()


def test_a_natural_spectrum_puts_its_high_frequencies_in_the_low_quantile():
    """What the released code calls low lies outside, where natural images are weak; the rings say the opposite."""
    generator = torch.Generator().manual_seed(0)
    distance = bands.radius(64, 64)
    spectrum = torch.fft.rfft2(torch.randn(4, 16, 64, 64, generator=generator, dtype=torch.float64))
    x = torch.fft.irfft2(spectrum / distance.clamp_min(1 / 32), s=(64, 64))
    weak = bands.quantile(torch.fft.rfft2(x).abs(), 64, 0.2).double()
    assert (weak * distance).sum() / weak.sum() > distance.mean()
    assert (weak * bands.radial(64, 64, 0.2)).sum() < 0.01 * weak.sum()
    energy = torch.fft.rfft2(x).abs().square()
    assert (energy * weak).sum() / energy.sum() < 0.01


@settings(max_examples=40, deadline=None)
@given(sides, sides)
def test_the_half_spectrum_weighs_as_much_as_the_full_one(height, width):
    x = torch.randn(2, 2, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    half = magnitude(x)
    total = torch.fft.fft2(x).abs().square().sum(dim=(1, 2, 3))
    assert torch.allclose(half.square().sum(dim=(1, 2, 3)), total)
    assert torch.allclose(total, x.square().sum(dim=(1, 2, 3)) * height * width)
    count = bands.multiplicity(width, x)
    assert count.sum() == width and set(count.tolist()) <= {1.0, 2.0}


@pytest.mark.parametrize("shape", [(1, 2, 4, 5), (2, 1, 3, 6), (1, 1, 1, 1), (1, 1, 2, 2)], ids=str)
def test_the_gradient_of_the_magnitude(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(magnitude, (x,))
    weights = torch.rand(magnitude(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (by_hand,) = torch.autograd.grad((magnitude(x) * weights).sum(), x)
    root = bands.multiplicity(shape[-1], x).sqrt()
    (by_autograd,) = torch.autograd.grad((torch.fft.rfft2(x).abs() * root * weights).sum(), x)
    assert torch.allclose(by_hand, by_autograd)


def test_the_gradient_of_a_zero_map_is_zero():
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    magnitude(x).sum().backward()
    assert (x.grad == 0).all()


@pytest.mark.parametrize("masks", ["radial", "quantile"])
def test_every_coefficient_is_in_exactly_one_band(masks):
    x = torch.randn(2, 3, 7, 8, generator=torch.Generator().manual_seed(4))
    split = Masks.of(x, Recipe(masks=masks))
    assert torch.equal(split.low + split.high, torch.ones_like(split.low))
    assert (split.area["low"] + split.area["high"] == 7 * 8).all()
