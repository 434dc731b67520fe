import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
import torch.nn.functional as F

from framer.data.degradation.kernels import gaussian, plateau, sinc
from framer.data.degradation.operations import (
    Noise,
    ShotNoise,
    _normal_table,
    _poisson_tables,
    add_noise,
    blur,
    luma,
    resize,
)
from tests.fixtures.photographs import astronaut

KERNELS = [gaussian(21, 3, 1, 0.5), sinc(13, 1.2), sinc(21, 0.7), plateau(7, 1, 2, 1.0, 0.7), gaussian(21, 0.2, 0.2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(24, 24), (61, 47), (9, 30), (3, 5), (1, 6)])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: str(len(kernel)))
def test_blur_is_mirrored_correlation_to_the_bit(shape, kernel, dtype):
    image = torch.randint(0, 256, (3, *shape), generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = [scipy.ndimage.correlate(p, kernel.astype(float), mode="mirror") for p in image.double().numpy()]
    # Weights and levels are short enough that float64 adds them up without rounding, and so does float32.
    assert np.array_equal(blur(image, kernel).double().numpy(), np.stack(exact))


def test_blur_is_not_symmetric_where_the_kernel_is_not():
    skewed = np.zeros((7, 7), np.float32)
    skewed[1, 5], skewed[3, 3] = 0.25, 0.75
    image = astronaut(40, 40)
    expected = np.stack([scipy.ndimage.correlate(p, skewed, mode="mirror") for p in image.numpy()])
    for dtype in (torch.float32, torch.float64):
        assert np.array_equal(blur(image.to(dtype), skewed).float().numpy(), expected)


@pytest.mark.parametrize("size", [(40, 62), (150, 70), (96, 96)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resize_agrees_with_a_second_implementation(mode, size):
    cv2 = pytest.importorskip("cv2")
    image = astronaut(96, 96)
    method = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[mode]
    expected = cv2.resize(image.permute(1, 2, 0).numpy(), size[::-1], interpolation=method)
    assert np.abs(resize(image, size, mode).permute(1, 2, 0).numpy() - expected).max() < 0.1


def test_area_is_the_mean_of_blocks():
    image = astronaut(96, 96)
    expected = image.reshape(3, 24, 4, 24, 4).mean((2, 4))
    assert torch.allclose(resize(image, (24, 24), "area"), expected, atol=1e-4)


def test_luma_is_weighted_and_rounded():
    image = torch.randint(0, 256, (3, 60, 50), generator=torch.Generator().manual_seed(0)).float()
    expected = np.einsum("c,chw->hw", [0.299, 0.587, 0.114], image.numpy().astype(float))
    assert np.abs(luma(image).numpy() - expected).max() < 0.502
    grey = torch.arange(256.0).repeat(3, 1, 1)
    assert torch.equal(luma(grey), grey[0])


def test_gaussian_noise_has_its_strength_and_channels():
    flat = torch.full((3, 160, 160), 127.0)
    colour = add_noise(flat, Noise("gaussian", 0.04, False, 7)) - flat
    gray = add_noise(flat, Noise("gaussian", 0.04, True, 7)) - flat
    assert colour.std().item() == pytest.approx(0.04 * 255, rel=0.02)
    assert abs(colour.mean().item()) < 4 * 0.04 * 255 / math.sqrt(colour.numel())
    assert abs(np.corrcoef(colour.flatten(1).numpy())[0, 1]) < 0.05
    assert torch.equal(gray[0], gray[1])
    assert torch.equal(gray[0], gray[2])
    assert scipy.stats.kstest(colour.flatten().numpy() / 0.04 / 255, "norm").pvalue > 0.01
    # Neighbours are independent, across the runs in which the noise is made as well.
    values = colour.flatten().numpy()
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.02


def test_the_table_of_the_normal_distribution():
    table = _normal_table().double()
    assert table.mean().item() == pytest.approx(0, abs=1e-7)
    assert table.square().mean().item() == pytest.approx(1, abs=1e-6)
    assert (table**4).mean().item() == pytest.approx(3, rel=2e-3)
    assert scipy.stats.kstest(table.numpy(), "norm").statistic < 1e-4


def test_noise_does_not_change_its_input_and_is_clipped():
    image = torch.tensor([0.0, 255.0]).repeat(3, 64, 32)
    before = image.clone()
    for kind, strength in (("gaussian", 0.1), ("poisson", 3.0)):
        noisy = add_noise(image, Noise(kind, strength, False, 1))
        assert torch.equal(image, before)
        assert noisy.min() == 0
        assert noisy.max() == 255


@pytest.mark.parametrize("photons", [1, 2, 16, 256])
def test_poisson_tables_hold_the_distribution(photons):
    thresholds, values = _poisson_tables(photons)
    thresholds, values = thresholds.view(256, 256, 1).numpy(), values.view(2, 256, 256).permute(1, 2, 0).numpy()
    for level in (0, 1, 40, 128, 200, 255):
        counts = np.rint((values[level].astype(float) + level / 255) * photons).astype(int)
        assert np.allclose(counts / photons - level / 255, values[level], atol=1e-6)
        made = np.zeros(counts.max() + 1)
        first = (thresholds[level, :, 0] + 2**15) / 2**16 / 256
        np.add.at(made, counts[:, 0], first)
        np.add.at(made, counts[:, 1], 1 / 256 - first)
        expected = scipy.stats.poisson.pmf(np.arange(len(made)), level / 255 * photons)
        # A threshold is off by half of 2^-16 of a column at the most, and few columns share a count.
        assert np.abs(made - expected).max() < 2**-19
        assert made.sum() == pytest.approx(1, abs=1e-9)


def test_poisson_noise_is_poisson():
    # 256 distinct levels make 256 photons at full brightness; the rest of the image is one level.
    ramp = torch.arange(256.0).repeat(3, 1, 1)
    for level in (3, 40, 200):
        image = torch.cat([ramp, torch.full((3, 200, 256), float(level))], 1)
        noise = (add_noise(image, Noise("poisson", 0.2, False, level)) - image)[:, 1:] / 255
        counts = (noise / 0.2 + level / 255) * 256
        assert torch.allclose(counts, counts.round(), atol=2e-2)
        rate, values = level / 255 * 256, counts.round().flatten().numpy()
        observed = np.bincount(values.astype(int))
        support = np.flatnonzero(observed >= 25)
        expected = scipy.stats.poisson.pmf(support, rate) * values.size
        assert ((observed[support] - expected) ** 2 / expected).sum() < scipy.stats.chi2.ppf(0.999, len(support))
        assert values.mean() == pytest.approx(rate, rel=0.01)
        assert values.var() == pytest.approx(rate, rel=0.03)


def test_fewer_levels_mean_fewer_photons():
    # Two levels: two photons at full brightness, so noise comes in steps of 1/2.
    image = torch.tensor([51.0, 204.0]).repeat(3, 64, 64)
    noise = add_noise(image, Noise("poisson", 0.01, False, 3)) - image
    steps = (noise / 255 / 0.01 + image / 255) * 2
    assert torch.allclose(steps, steps.round(), atol=1e-2)


def test_gray_poisson_noise_is_shared_and_follows_luma():
    image = torch.full((3, 200, 256), 100.0)
    image[1] = torch.arange(256.0)
    noise = add_noise(image, Noise("poisson", 0.1, True, 5)) - image
    inner = noise[:, :, 60:200]
    assert torch.allclose(inner[0], inner[1], atol=1e-4)
    # 150 distinct brightnesses, and so 256 photons.
    bright = (0.587 * 180 + 0.413 * 100) / 255
    assert (noise[1, :, 170:190] / 255 / 0.1).var().item() == pytest.approx(bright / 256, rel=0.1)


def test_poisson_noise_of_one_pixel_depends_on_that_pixel_alone():
    image = astronaut(96, 96)
    other = image.clone()
    other[:, 50, 50] = other[:, 50, 51]
    difference = add_noise(image, Noise("poisson", 1.0, False, 2)) != add_noise(other, Noise("poisson", 1.0, False, 2))
    assert difference.any(0).sum() <= 1


def test_a_pixel_has_the_noise_of_its_place_in_any_run():
    levels = torch.randint(0, 256, (500,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    words = torch.randint(-(2**31), 2**31, (500,), dtype=torch.int32, generator=torch.Generator().manual_seed(1))
    shot = ShotNoise(levels, 1.0)
    whole = shot.field(0, words)
    assert torch.equal(torch.cat([shot.field(0, words[:123]), shot.field(123, words[123:])]), whole)


@pytest.mark.parametrize("size", [(40, 33), (41, 33), (40, 66), (71, 50), (97, 33)])
def test_enlarging_by_areas_is_torchs_pooling_to_the_bit(size):
    """Of whole levels and of what a blur leaves, in strips and without."""
    generator = torch.Generator().manual_seed(3)
    whole_levels = torch.randint(0, 256, (3, 40, 33), generator=generator).float()
    blurred = torch.randint(-1000, 256 << 16, (3, 40, 33), generator=generator) / 65536
    for image in (whole_levels, blurred, blurred.double() / 3):
        expected = F.interpolate(image.double()[None], size=size, mode="area")[0].float()
        assert torch.equal(resize(image, size, "area"), expected)
