"""What all backbones share: random numbers by sample, padding, strict loading, and the interface itself."""

import numpy as np
import pytest
import torch
from PIL import Image

from framer.backbones.image_ops import LONGEST, enlarged_size, pad_to, resized, resized_8_bit, upsample, upsample_torch
from framer.backbones.random import Draws, generator
from framer.backbones.registry import SETTINGS, backbone_class, create, settings_of
from framer.backbones.state_dict import load_exactly
from framer.errors import UserError


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def backbone(request):
    torch.manual_seed(0)
    return create(request.param, "tiny")


def test_draws_do_not_depend_on_the_batch_size():
    whole = Draws.of_step(3, 4, step=1, batch=4).normal(2, 5)
    halves = [Draws.of_step(3, 4, step=s, batch=2).normal(2, 5) for s in (2, 3)]
    assert torch.equal(whole, torch.cat(halves))
    assert len({tuple(sample.flatten().tolist()) for sample in whole}) == 4


@pytest.mark.parametrize("size", [(36, 56), (31, 40)])
def test_upsampling_is_pillows(size):
    """Up to its rounding, once an axis; far from black and white, where it clips between the two."""
    image = torch.randint(64, 192, (1, 3, 9, 14), generator=generator(0))
    rgb = Image.fromarray(image[0].permute(1, 2, 0).to(torch.uint8).numpy())
    expected = torch.from_numpy(np.array(rgb.resize(size[::-1], Image.Resampling.BICUBIC))).permute(2, 0, 1)
    assert (resized(image / 255, size)[0] * 255 - expected).abs().max() <= 1.15
    if size == (36, 56):
        assert torch.equal(upsample(image / 255), resized(image / 255, size).clamp(0, 1))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (2, 3), (7, 9), (8, 8)])
def test_padding_keeps_the_image_and_adds_what_is_asked(height, width):
    image = torch.rand(1, 3, height, width, generator=generator(1))
    padded = pad_to(image, 11, 6)
    assert padded.shape == (1, 3, height + 11, width + 6)
    assert torch.equal(padded[..., :height, :width], image)
    if min(height, width) > 2:
        assert torch.equal(padded[..., height, :width], image[..., height - 2, :])


@pytest.mark.parametrize(("height", "width"), [(5, 9), (1, 1)])
def test_any_size_is_restored_to_exactly_four_times(backbone, height, width):
    image = torch.rand(1, 3, height, width, generator=generator(2))
    result = backbone.restore_image(image, Draws((generator(3),), generator(3)))
    assert result.shape == (1, 3, 4 * height, 4 * width)
    assert result.min() >= 0 and result.max() <= 1


def test_a_base_goes_out_and_in(backbone):
    state = {name: tensor.clone() for name, tensor in backbone.base_state().items()}
    torch.manual_seed(99)
    other = create(backbone.name, "tiny")
    assert any(not torch.equal(tensor, state[name]) for name, tensor in other.base_state().items())
    other.load_base(state, "x")
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.base_state().items())
    image = torch.rand(1, 3, 32, 32, generator=generator(2))
    draws = [Draws((generator(3),), generator(3)) for _ in range(2)]
    with torch.no_grad():
        options = backbone.settings.restore
        assert torch.equal(backbone.restore(image, draws[0], options), other.restore(image, draws[1], options))


def test_loading_is_strict():
    own = {"a": torch.zeros(2), "b": torch.zeros(3)}
    for given, message in (
        ({"a": torch.ones(2)}, "file: missing tensor 'b'"),
        ({"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(1)}, "file: unknown tensor 'c'"),
        ({"a": torch.ones(2), "b": torch.ones(4)}, r"file: 'b' has the shape \(4,\), not \(3,\)"),
    ):
        with pytest.raises(UserError, match=message):
            load_exactly(own, given, "file")
    assert not own["a"].any()  # nothing is copied before everything fits


def test_unknown_names_are_one_line():
    with pytest.raises(UserError, match="unknown backbone 'pisasr', did you mean 'pisa_sr'"):
        backbone_class("pisasr")
    with pytest.raises(
        UserError, match=r"backbones\.pisa_sr\.base: unknown configuration 'tinny', did you mean 'tiny'"
    ):
        create("pisa_sr", "tinny")


@pytest.mark.parametrize("backbone", SETTINGS)
def test_a_renamed_setting_is_refused_with_its_new_name(backbone):
    with pytest.raises(UserError, match="'colour' is now named 'color'"):
        settings_of(backbone, {"restore": {"colour": "none"}})


def test_small_images_are_enlarged_as_by_pillow_in_two_steps_of_8_bits():
    lr = torch.randint(40, 216, (1, 3, 20, 33), generator=generator(4))
    rgb = Image.fromarray(lr[0].permute(1, 2, 0).to(torch.uint8).numpy())
    size = enlarged_size(20, 33, 32)
    assert size == (32, 52)
    first = rgb.resize(size[::-1], Image.Resampling.BICUBIC)
    second = torch.from_numpy(np.array(first.resize((208, 128), Image.Resampling.BICUBIC))).permute(2, 0, 1)
    ours = resized_8_bit(resized_8_bit(lr / 255, size), (128, 208))[0] * 255
    assert torch.equal(ours, ours.round())
    assert (ours - second).abs().max() <= 2 and ((ours - second).abs() > 0.5).float().mean() < 0.5
    once = resized(lr / 255, (128, 208))[0] * 255
    assert (once - second).square().mean() > 3 * (ours - second).square().mean()


@pytest.mark.parametrize("least", [1, 16, 128])
def test_enlarged_sizes(least):
    """The short side is exactly as asked, or the long one as long as it may be; nothing becomes smaller."""
    for height in (1, 3, 16, 40, 127, 128, 600):
        for width in (1, 5, 30, 128, 640):
            size = enlarged_size(height, width, least)
            if min(height, width) >= least or max(height, width) >= LONGEST * least:
                assert size == (height, width)
            else:
                assert size[0] >= height and size[1] >= width
                assert min(size) == least or max(size) == LONGEST * least
                assert max(size) <= LONGEST * least
                assert abs(size[0] * width - size[1] * height) <= max(height, width)


def test_a_restore_that_changes_the_shape_is_refused(backbone, monkeypatch):
    monkeypatch.setattr(backbone, "restore", lambda image, *_, **__: image[..., ::2, ::2])
    with pytest.raises(UserError, match="must keep the shape"):
        backbone.restore_image(torch.rand(1, 3, 8, 8), Draws((generator(3),), generator(3)))


def test_torchs_bicubic_kernel_has_another_parameter():
    """One row of an impulse, from the cubic convolution kernel with a = -0.75."""
    lr = torch.zeros(1, 3, 9, 9)
    lr[..., 4, 4] = 1
    t = (torch.arange(36) + 0.5) / 4 - 4.5
    a, x = -0.75, t.abs()
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    kernel = torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
    assert torch.allclose(upsample_torch(lr)[0, 0], torch.outer(kernel, kernel).clamp(0, 1), atol=1e-5)
