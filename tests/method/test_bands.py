"""Bands of any map: every coefficient in exactly one, twins together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framer.method import bands
from framer.method.recipe import Recipe
from framer.method.spectrum import Masks, magnitude, split

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
    mask = bands.quantiles(torch.fft.rfft2(x).abs(), width, [cutoff])[0]
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
        mask = full(bands.quantiles(spectrum, width, [k / (count - 1)])[0], width)[0, 0]
        assert symmetric(mask)
        tied = np.abs(ordered - ordered[k]) < 1e-5 * ordered[-1]
        assert tied.argmax() <= int(mask.sum()) <= k + 1


def test_equal_magnitudes_are_all_high():
    x = torch.zeros(1, 2, 6, 6)
    x[..., 2, 3] = 1.0
    assert not bands.quantiles(torch.fft.rfft2(x).abs().round(decimals=4), 6, [0.2])[0].any()


def test_a_natural_spectrum_puts_its_high_frequencies_in_the_low_quantile():
    """What the released code calls low lies outside, where natural images are weak; the rings say the opposite."""
    generator = torch.Generator().manual_seed(0)
    distance = bands.radius(64, 64)
    spectrum = torch.fft.rfft2(torch.randn(4, 16, 64, 64, generator=generator, dtype=torch.float64))
    x = torch.fft.irfft2(spectrum / distance.clamp_min(1 / 32), s=(64, 64))
    weak = bands.quantiles(torch.fft.rfft2(x).abs(), 64, [0.2])[0].double()
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


CUTOFFS = {2: 0.3, 3: (0.2, 0.5), 5: (0.15, 0.3, 0.5, 0.8)}


def several(count, **changed):
    return Recipe(cutoff=CUTOFFS[count], middle=("intra", "inter", "intra")[: count - 2], **changed)


@pytest.mark.parametrize("edge", [0.0, 0.1])
@pytest.mark.parametrize("count", CUTOFFS)
@pytest.mark.parametrize("masks", ["radial", "quantile"])
def test_bands_share_out_all_coefficients(masks, count, edge):
    """Hard ones give each to one band, so that their energies sum to that of the map, by Parseval."""
    x = torch.randn(2, 3, 7, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    recipe = several(count, masks=masks, edge=edge)
    found = Masks.of(x, recipe)
    total = torch.stack([mask.expand(2, 3, 7, 5) for mask in found.bands.values()])
    assert len(found.bands) == count and total.min() >= 0
    assert (total.sum(dim=0) - 1).abs().max() <= 1e-15 and (sum(found.area.values()) - 7 * 8).abs().max() <= 1e-12
    assert bool(((total > 0) & (total < 1)).any()) == (edge > 0)
    if not edge:
        assert ((total == 0) | (total == 1)).all()
        parts = [band.value.square().sum(dim=1) for band in split(x, found, recipe).values()]
        assert torch.allclose(sum(parts), 7 * 8 * x.square().sum(dim=(1, 2, 3)))


def test_an_edge_is_a_raised_cosine_around_the_cutoff():
    low = bands.radial(64, 64, 0.5, edge=0.25)[:33, 0]
    at = torch.arange(33, dtype=torch.float64) / 32
    expected = (1 + torch.cos(torch.pi * ((at - 0.375) / 0.25).clamp(0, 1))) / 2
    assert torch.allclose(low, expected) and low[16] == pytest.approx(0.5)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    magnitudes = torch.fft.rfft2(x).abs()
    (soft,) = bands.quantiles(magnitudes, 16, [0.4], edge=0.2)
    below, above = bands.quantiles(magnitudes, 16, [0.3, 0.5])
    assert (soft[below] == 1).all() and (soft[~above] <= 1e-15).all() and (soft[above & ~below] < 1).all()


@pytest.mark.parametrize("edge", [0.0, 0.1])
@pytest.mark.parametrize("count", [3, 5])
def test_gathered_bands_are_the_masked_ones(count, edge):
    """Values, energies, cosines and gradients, whichever way they were computed."""
    generator = torch.Generator().manual_seed(4)
    x, y = (torch.randn(3, 2, 9, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    recipe = several(count, edge=edge)
    found = []
    for masks in (Masks.of(y, recipe), replace(Masks.of(y, recipe), order=None)):
        query = x.clone().requires_grad_()
        own, other = split(query, masks, recipe), split(y, masks, recipe)
        cosines = torch.stack([own[band].cosines(other[band]) for band in own])
        alone = torch.stack([own[band].cosine(other[band]) for band in own])
        gradients = [torch.autograd.grad(part.sum(), query, retain_graph=True)[0] for part in (*cosines, *alone)]
        found.append([cosines, alone, torch.stack([band.energy for band in own.values()]), *gradients])
    for gathered, masked in zip(*found, strict=True):
        assert torch.allclose(gathered, masked, rtol=1e-10, atol=1e-12)
