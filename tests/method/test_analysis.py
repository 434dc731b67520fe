"""The analyses of the paper's figures."""

import numpy as np
import pytest
import torch

from framer import FramerLoss, Recipe
from framer.method.analysis import band_densities, layer_similarity, layer_weights, sample_similarity

PAPER = Recipe.named("paper")


def maps(count, shape=(3, 2, 10, 9), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def test_densities_are_those_of_the_full_spectrum():
    (x,) = maps(1, (4, 2, 9, 8))
    densities = band_densities(x, cutoff=0.5, bins=7, clip=(0.0, 1.0))
    y, z = (np.fft.fftfreq(n) * 2 for n in (9, 8))
    low = np.hypot(y[:, None], z) < 0.5 - 1e-9
    values = np.log1p(np.abs(np.fft.fft2(x.double().numpy())))
    for band, mask in (("low", low), ("high", ~low)):
        got = densities[band]
        edges = got.edges.numpy()
        each = [np.histogram(v[:, mask], bins=edges, density=True)[0] for v in values]
        assert np.allclose(got.mean, np.mean(each, axis=0)) and np.allclose(got.std, np.std(each, axis=0))
        assert (got.mean.numpy() * np.diff(edges)).sum() == pytest.approx(1)
    assert torch.equal(densities["low"].edges, densities["high"].edges)


def test_smooth_maps_have_a_heavy_low_band():
    (x,) = maps(1, (4, 3, 32, 32))
    smooth = torch.nn.functional.avg_pool2d(x, 5, stride=1, padding=2)
    densities = band_densities(smooth)
    middle = (densities["low"].edges[1:] + densities["low"].edges[:-1]) / 2
    centre = {band: (d.mean * middle).sum() / d.mean.sum() for band, d in densities.items()}
    assert centre["low"] > 2 * centre["high"]


def test_densities_of_a_constant_map_are_finite():
    densities = band_densities(torch.zeros(2, 1, 6, 6))
    assert all(d.mean.isfinite().all() for d in densities.values())


def test_layer_similarity_and_weights_are_those_of_the_loss():
    *students, teacher = maps(5)
    for name in ("paper", "released", "complex_feature", "raw_feature", "no_faw"):
        recipe = Recipe.named(name)
        table = FramerLoss(recipe)(students, teacher).layers
        similarity, weights = layer_similarity(students, teacher, recipe), layer_weights(students, teacher, recipe)
        for band in ("low", "high"):
            terms = getattr(table, band)
            assert similarity[band].shape == (4, 3)
            assert torch.allclose(similarity[band][table.layer], terms.positive, atol=1e-6)
            for key in ("faw", "fam"):
                assert torch.allclose(weights[band][key][table.layer], getattr(terms, key), atol=1e-6)


def test_a_layer_that_is_the_teacher_has_similarity_and_weights_one():
    (teacher,) = maps(1)
    one = torch.ones(1, 3)
    for band, value in layer_similarity([teacher], teacher, PAPER).items():
        assert torch.allclose(value, one)
        assert torch.allclose(layer_weights([teacher], teacher, PAPER)[band]["faw"], one)


def test_images_alike_in_low_frequencies_only():
    base, *detail = maps(5, (1, 2, 32, 32))
    frequency = torch.fft.fftfreq(32)
    low = torch.hypot(frequency[:, None], frequency) * 2 < 0.2
    images = torch.cat([torch.fft.ifft2(torch.fft.fft2(base) * low + torch.fft.fft2(d) * ~low).real for d in detail])
    for recipe, unrelated in ((Recipe.named("complex_feature"), 0.0), (PAPER, torch.pi / 4)):
        matrix = sample_similarity(images, recipe)
        off = ~torch.eye(4, dtype=torch.bool)
        assert torch.allclose(matrix["low"], torch.ones(4, 4), atol=1e-4)
        assert torch.allclose(matrix["high"].diagonal(), torch.ones(4))
        assert torch.allclose(matrix["high"], matrix["high"].T, atol=1e-5)
        assert (matrix["high"][off] - unrelated).abs().max() < 0.06


def test_analyses_take_half_precision_and_have_no_gradient():
    *students, teacher = (x.bfloat16().requires_grad_() for x in maps(3))
    assert not layer_similarity(students, teacher, PAPER)["low"].requires_grad
    assert not sample_similarity(teacher, PAPER)["high"].requires_grad
    assert not band_densities(teacher)["low"].mean.requires_grad
