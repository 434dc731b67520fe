"""Against closed forms, scikit-image and pyiqa."""

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from framer.scoring.protocols import PROTOCOLS
from framer.scoring.psnr_ssim import luma, psnr, ssim

RNG = np.random.default_rng(3)
HR = np.clip(np.kron(RNG.normal(128, 50, (9, 12, 3)), np.ones((5, 4, 1))), 0, 255).astype(np.uint8)
SR = np.clip(HR + RNG.normal(0, 12, HR.shape), 0, 255).astype(np.uint8)


def test_luma_of_black_and_white():
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert np.allclose(luma(ends, "ycbcr"), [[16, 235]])
    assert np.allclose(luma(ends, "yiq"), [[0, 255]])


def test_psnr_of_a_constant_error():
    flat = np.full((20, 20, 3), 100, np.uint8)
    expected = 10 * math.log10(1 / ((5 / 255) ** 2 + 1e-8))
    assert psnr(flat + np.uint8(5), flat) == pytest.approx(expected, abs=1e-12)
    assert psnr(flat, flat + np.uint8(5), test_y_channel=True) == pytest.approx(expected, abs=1e-9)


def test_identical_images_reach_the_cap():
    assert psnr(HR, HR) == pytest.approx(80, abs=1e-9)
    assert ssim(HR, HR) == pytest.approx(1, abs=1e-12)


def test_limited_range_y_scores_higher_by_a_constant():
    """The two Y channels differ by 219 / 255 up to the digits of the standards' coefficients: 1.3219 dB."""
    options = {"test_y_channel": True}
    gap = psnr(SR, HR, color_space="ycbcr", **options) - psnr(SR, HR, color_space="yiq", **options)
    assert gap == pytest.approx(20 * math.log10(255 / 219), abs=2e-3)


def test_border_is_left_out():
    broken = SR.copy()
    broken[:4] = broken[-4:] = 0
    broken[:, :4] = broken[:, -4:] = 255
    for metric in (psnr, ssim):
        assert metric(broken, HR, crop_border=4) == metric(SR[4:-4, 4:-4], HR[4:-4, 4:-4])


@pytest.mark.parametrize("color_space", ["ycbcr", "yiq"])
def test_ssim_agrees_with_scikit_image(color_space: str):
    planes = [np.rint(luma(image, color_space)) for image in (SR, HR)]
    _, full = structural_similarity(
        *planes, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    assert full[5:-5, 5:-5].min() > 0, "the clipping of negative values would differ"
    assert ssim(SR, HR, color_space=color_space) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)


def test_ssim_clips_negative_structure():
    """An inverted image has a negative covariance everywhere: only the luminance term remains, times zero."""
    assert ssim(255 - HR[:11, :11], HR[:11, :11]) >= 0
    checker = np.tile(np.indices((24, 24)).sum(0)[..., None] % 2 * 255, 3).astype(np.uint8)
    assert ssim(255 - checker, checker) == 0


def test_every_definition_agrees_with_pyiqa():
    torch = pytest.importorskip("torch")
    pyiqa = pytest.importorskip("pyiqa")
    tensors = [torch.tensor(image).permute(2, 0, 1)[None] / 255 for image in (SR, HR)]
    for protocol in PROTOCOLS.values():
        for metric, ours in zip(protocol.select(["psnr", "ssim"]), (psnr, ssim), strict=True):
            for border in (0, 4):
                options = {**metric.options, "crop_border": border}
                theirs = pyiqa.create_metric(metric.pyiqa, device="cpu", **options)
                assert ours(SR, HR, **options) == pytest.approx(float(theirs(*tensors)), abs=2e-5), metric.id
    rgb = pyiqa.create_metric("ssim", device="cpu", test_y_channel=False)
    assert ssim(SR, HR, test_y_channel=False) == pytest.approx(float(rgb(*tensors)), abs=1e-6)
