import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from framer.data.degradation.kernels import draw_kernel, draw_sinc, gaussian, mahalanobis, plateau, sinc
from framer.data.degradation.presets import KERNEL_SIZES, PRESETS, Blur

FIRST = PRESETS["realesrgan"].first.blur


def grid(size: int) -> np.ndarray:
    half = size // 2
    return np.stack(np.meshgrid(np.arange(-half, half + 1), np.arange(-half, half + 1)), -1).astype(float)


def off(kernel: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference; the centre has what rounding left of the sum, less than a hundredth of a level."""
    difference, centre = np.abs(kernel - expected), len(kernel) // 2
    assert difference[centre, centre] < 0.01
    difference[centre, centre] = 0
    return difference.max()


def test_products_with_levels_add_up_without_rounding_in_float32():
    rng = np.random.default_rng(7)
    for number in range(400):
        kernel = (draw_sinc(rng) if number % 2 else draw_kernel(FIRST, rng)).astype(np.float64)
        assert kernel.sum() == 1
        # The unit that all weights are multiples of; every partial sum is one, and below 2^24 of them.
        unit = next(2.0**-bits for bits in range(30) if np.array_equal(kernel * 2**bits, np.round(kernel * 2**bits)))
        assert 255 * np.abs(kernel).sum() / unit < 2**24
        assert unit <= 2**-13


@pytest.mark.parametrize("size", KERNEL_SIZES)
@pytest.mark.parametrize("kernel", [gaussian, plateau])
def test_sums_to_one_and_has_its_size(kernel, size):
    for sigma in (0.2, 1.0, 3.0):
        for beta in (0.5, 1.0, 4.0):
            made = kernel(size, sigma, sigma / 2, 0.3, beta)
            assert made.shape == (size, size)
            assert made.dtype == np.float32
            assert made.sum() == pytest.approx(1, abs=1e-5)
            assert (made >= 0).all()
            assert np.allclose(made, made[::-1, ::-1])


def test_gaussian_is_the_bivariate_normal_density():
    sigma_x, sigma_y, angle = 2.0, 0.8, math.radians(30)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T
    density = scipy.stats.multivariate_normal([0, 0], covariance).pdf(grid(21))
    assert off(gaussian(21, sigma_x, sigma_y, angle), density / density.sum()) <= 2**-17


def test_second_moments_are_the_covariance():
    kernel, xy = gaussian(21, 2.0, 1.0, math.radians(60)), grid(21)
    moments = np.einsum("ij,ija,ijb->ab", kernel, xy, xy)
    major = np.linalg.eigh(moments)[1][:, 1]
    assert np.linalg.eigvalsh(moments) == pytest.approx([1, 4], rel=0.01)
    # The long axis points 60 degrees from x; its sign is free.
    assert abs(major @ [math.cos(math.radians(60)), math.sin(math.radians(60))]) == pytest.approx(1, abs=1e-4)


def test_exponents_shape_the_profile():
    d = mahalanobis(21, 2.0, 2.0, 0.0)[10]
    for beta in (0.5, 2.0):
        for kernel, profile in ((gaussian, np.exp(-(d**beta) / 2)), (plateau, 1 / (1 + d**beta))):
            made = kernel(21, 2.0, 2.0, beta=beta)[10]
            # The centre has what rounding left of the sum.
            assert np.allclose(made[11:] / made[11], profile[11:] / profile[11], atol=4e-3)


@pytest.mark.parametrize("cutoff", [math.pi / 5, math.pi / 3, 2.5, math.pi])
def test_sinc_is_the_circular_low_pass(cutoff):
    r = np.hypot(*np.moveaxis(grid(21), -1, 0))
    with np.errstate(invalid="ignore"):
        expected = np.where(r > 0, cutoff * scipy.special.j1(cutoff * r) / (2 * np.pi * r), cutoff**2 / (4 * np.pi))
    assert off(sinc(21, cutoff), expected / expected.sum()) <= 2**-14


def test_sinc_passes_below_its_cutoff_and_stops_above():
    response = np.abs(np.fft.fft2(sinc(21, 1.5), s=(256, 256)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256))) * 2 * np.pi
    assert response[frequency < 1.0].min() > 0.8
    assert response[frequency > 2.0].max() < 0.15


def is_iso(kernel: np.ndarray) -> bool:
    return np.allclose(kernel, kernel.T, atol=1e-7) and np.allclose(kernel, kernel[::-1], atol=1e-7)


def test_draws_follow_the_published_probabilities():
    rng, n = np.random.default_rng(0), 3000
    kernels = [draw_kernel(FIRST, rng) for _ in range(n)]
    sincs = [k for k in kernels if k.min() < 0]
    gaussians = [k for k in kernels if k.min() >= 0]

    def close(count: int, total: int, p: float) -> bool:
        return abs(count / total - p) < 4 * math.sqrt(p * (1 - p) / total)

    assert close(len(sincs), n, FIRST.sinc)
    assert close(sum(map(is_iso, gaussians)), len(gaussians), 0.45 + 0.12 + 0.12)
    for size in KERNEL_SIZES:
        assert close(sum(len(k) == size for k in kernels), n, 1 / 8)


def test_sigma_is_uniform_in_its_range():
    blur = Blur(1.0, (0.5, 2.5), sinc=0.0, kinds=(1, 0, 0, 0, 0, 0))
    rng = np.random.default_rng(1)
    sigmas = []
    while len(sigmas) < 600:
        kernel = draw_kernel(blur, rng)
        if len(kernel) >= 17:
            # Of a Gaussian, the ratio of two neighbours on an axis gives sigma back.
            c = len(kernel) // 2
            sigmas.append(1 / math.sqrt(2 * math.log(kernel[c, c] / kernel[c, c + 1])))
    assert scipy.stats.kstest(sigmas, scipy.stats.uniform(0.5, 2.0).cdf).pvalue > 0.01


def test_exponents_below_and_above_one_are_equally_likely():
    blur = Blur(1.0, (1.0, 1.0), sinc=0.0, kinds=(0, 0, 1, 0, 0, 0))
    rng = np.random.default_rng(2)
    kernels = [draw_kernel(blur, rng) for _ in range(800)]
    # At distance d = 2 an exponent above 1 leaves less than the Gaussian does.
    flat = [k[len(k) // 2, len(k) // 2 + 2] / k.max() < math.exp(-2) for k in kernels]
    assert abs(np.mean(flat) - 0.5) < 4 * 0.5 / math.sqrt(800)


def test_last_filter_is_cut_off_between_a_third_of_pi_and_pi():
    rng = np.random.default_rng(3)
    for _ in range(50):
        kernel = draw_sinc(rng)
        c = len(kernel) // 2
        # The centre's share grows with the cut-off, so the extremes bound it.
        low, high = sinc(len(kernel), math.pi / 3)[c, c], sinc(len(kernel), math.pi)[c, c]
        assert min(low, high) <= kernel[c, c] <= max(low, high)
