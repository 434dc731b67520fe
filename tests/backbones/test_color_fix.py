"""Color fixes against what numpy and scipy make of their descriptions."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from framer.backbones.color_fix import match_color
from framer.backbones.random import generator
from framer.errors import UserError

SR = torch.rand(2, 3, 40, 27, generator=generator(0)) * 0.5
REFERENCE = torch.rand(2, 3, 40, 27, generator=generator(1)) ** 2


def test_adain_gives_each_channel_the_moments_of_the_reference():
    sr, reference = SR.double().numpy(), REFERENCE.double().numpy()

    def moments(x):
        return x.mean((2, 3), keepdims=True), np.sqrt(x.var((2, 3), ddof=1, keepdims=True) + 1e-5)

    (mean, std), (target, spread) = moments(sr), moments(reference)
    expected = (sr - mean) / std * spread + target
    assert np.allclose(match_color(SR, REFERENCE, "adain").numpy(), expected, atol=1e-5)


def test_wavelet_keeps_detail_and_takes_the_reference_s_low_frequencies():
    def lowpass(x):
        for level in range(5):
            taps = np.zeros(2 * 2**level + 1)
            taps[[0, 2**level, -1]] = 0.25, 0.5, 0.25
            for axis in (2, 3):
                x = correlate1d(x, taps, axis=axis, mode="nearest")
        return x

    sr, reference = SR.double().numpy(), REFERENCE.double().numpy()
    expected = sr - lowpass(sr) + lowpass(reference)
    assert np.allclose(match_color(SR, REFERENCE, "wavelet").numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("how", ["adain", "wavelet", "none"])
def test_an_image_that_matches_already_stays(how):
    assert torch.allclose(match_color(SR, SR, how), SR, atol=1e-6)
    assert match_color(SR[..., :1, :1], SR[..., :1, :1], how).isfinite().all()


@pytest.mark.parametrize("how", ["adain", "wavelet"])
def test_a_cast_is_taken_off(how):
    cast = SR + torch.tensor([0.2, -0.1, 0.05]).reshape(1, 3, 1, 1)
    assert torch.allclose(match_color(cast, SR, how), SR, atol=1e-5)


def test_images_of_a_batch_do_not_mix():
    whole = match_color(SR, REFERENCE, "adain")
    assert torch.equal(whole[1:], match_color(SR[1:], REFERENCE[1:], "adain"))


def test_another_fix_is_refused():
    with pytest.raises(UserError) as error:
        match_color(SR, SR, "lab")  # type: ignore[arg-type]
    assert error.value.key == "color"
