import dataclasses
import io
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from PIL import Image

from framer.data.degradation.operations import Noise, _normal_table, random_words, resize
from framer.data.degradation.pipeline import MODES, Draw, StageDraw, apply, degrade, draw, sharpen, target
from framer.data.degradation.presets import PRESETS, Degradation
from framer.errors import UserError
from tests.fixtures.photographs import astronaut

QUIET = Noise("gaussian", 0.0, False, 0)


def photograph(side: int = 96) -> torch.Tensor:
    return astronaut(side, side) / 255


def test_sharpening_agrees_with_opencv():
    cv2 = pytest.importorskip("cv2")
    image = photograph(128)
    pixels = image.permute(1, 2, 0).numpy()
    detail = pixels - cv2.GaussianBlur(pixels, (51, 51), 0)
    mask = cv2.GaussianBlur((np.abs(detail) * 255 > 10).astype(np.float32), (51, 51), 0)
    expected = mask * np.clip(pixels + 0.5 * detail, 0, 1) + (1 - mask) * pixels
    assert np.abs(sharpen(image).permute(1, 2, 0).numpy() - expected).max() <= 0.51 / 255
    assert torch.equal(target(image, PRESETS["pisa_sr"]), image)
    assert torch.equal(target(image, PRESETS["seesr"]), sharpen(image))


def plain_apply(hr: torch.Tensor, d: Draw) -> np.ndarray:
    """The pipeline once more, from SciPy, OpenCV and Pillow: (H/4, W/4, 3) levels. Gaussian noise only."""
    cv2 = pytest.importorskip("cv2")
    methods = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}

    def filtered(x, kernel):
        return x if kernel is None else scipy.ndimage.correlate(x, kernel[:, :, None].astype(np.float64), mode="mirror")

    def resized(x, size, mode):
        return cv2.resize(x, size[::-1], interpolation=methods[mode])

    def coded(x, quality):
        file = io.BytesIO()
        Image.fromarray((x.clip(0, 1) * 255).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file)).astype(np.float64) / 255

    x = hr.permute(1, 2, 0).numpy().astype(np.float64)
    x = filtered(x, d.first.kernel)
    x = resized(x, d.first.size, d.first.mode)
    x = coded(noisy(x, d.first.noise), d.first.quality)
    x = filtered(x, d.second.kernel)
    x = resized(x, d.second.size, d.second.mode)
    x = noisy(x, d.second.noise)
    if d.jpeg_last:
        return coded(filtered(resized(x, d.size, d.mode), d.sinc), d.second.quality) * 255
    x = filtered(resized(coded(x, d.second.quality), d.size, d.mode), d.sinc)
    return (x.clip(0, 1) * 255).round()


def noisy(x: np.ndarray, noise: Noise) -> np.ndarray:
    shape = (1 if noise.gray else 3, *x.shape[:2])
    field = _normal_table()[random_words(np.random.SFC64(noise.seed), math.prod(shape), "<u2")].numpy().reshape(shape)
    return (x + noise.strength * field.transpose(1, 2, 0)).clip(0, 1)


@pytest.mark.parametrize("preset", ["realesrgan", "pisa_sr"])
def test_order_of_operations_against_a_plain_pipeline(preset):
    plain = dataclasses.replace(
        PRESETS[preset],
        first=dataclasses.replace(PRESETS[preset].first, gaussian=1.0),
        second=dataclasses.replace(PRESETS[preset].second, gaussian=1.0),
    )
    rng, seen, errors = np.random.default_rng(5), set(), []
    for _ in range(40):
        d = draw(plain, rng, 96, 96)
        d = dataclasses.replace(
            d,
            mode="bicubic" if d.mode == "area" else d.mode,
            first=dataclasses.replace(d.first, mode="bilinear" if d.first.mode == "area" else d.first.mode),
            second=dataclasses.replace(d.second, mode="bicubic" if d.second.mode == "area" else d.second.mode),
        )
        made = (apply(photograph(), d) * 255).permute(1, 2, 0).numpy()
        errors.append(np.abs(made - plain_apply(photograph(), d)).mean())
        seen.add(d.jpeg_last)
    # Most are equal to the bit. One rounding that falls the other way before a JPEG moves a block by a level or so.
    assert np.median(errors) == 0
    assert max(errors) < 1.5
    assert seen == {True, False}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(96, 96), (32, 32), (64, 200)])
def test_lr_is_a_quarter_of_8_bit_levels(preset, shape):
    hr = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    for _ in range(30):
        lr = degrade(hr, PRESETS[preset], rng)
        assert lr.shape == (3, shape[0] // 4, shape[1] // 4)
        assert lr.dtype == torch.float32
        assert torch.equal(lr, (lr * 255).round() / 255)
        assert torch.isfinite(lr).all()


def test_lr_is_in_register_with_hr():
    y, x = torch.meshgrid(torch.linspace(0.2, 0.8, 96), torch.linspace(0.2, 0.8, 96), indexing="ij")
    hr = torch.stack([x, y, (x + y) / 2])
    rng = np.random.default_rng(3)
    lr = torch.stack([degrade(hr, PRESETS["pisa_sr"], rng) for _ in range(200)]).mean(0)
    error = (lr - resize(hr, (24, 24), "area"))[:, 4:-4, 4:-4]
    step = 0.6 / 95 * 4  # one LR pixel
    assert error.abs().mean() < 0.1 * step


def test_an_empty_draw_is_a_resize():
    quiet = StageDraw(None, (24, 24), "area", QUIET, 100)
    d = Draw((96, 96), dataclasses.replace(quiet, size=(96, 96)), quiet, (24, 24), "area", None, jpeg_last=False)
    expected = resize(photograph(), (24, 24), "area")
    # Two JPEGs of the best quality still subsample colour; luma is nearly untouched.
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert ((apply(photograph(), d) - expected) * luma).sum(0).abs().mean() < 1.5 / 255


def test_draw_and_image_sizes_must_agree():
    d = draw(PRESETS["pisa_sr"], np.random.default_rng(0), 64, 64)
    with pytest.raises(ValueError, match="the draw is for HR"):
        apply(photograph(), d)
    for h, w in ((64, 66), (28, 64)):
        with pytest.raises(ValueError, match="multiples of 4"):
            draw(PRESETS["pisa_sr"], np.random.default_rng(0), h, w)


def test_a_pair_is_a_function_of_image_and_seed_on_any_number_of_threads():
    threads = torch.get_num_threads()
    try:
        made = []
        for count in (1, 2):
            torch.set_num_threads(count)
            rng = np.random.default_rng(11)
            made.append(torch.stack([degrade(photograph(160), PRESETS["pisa_sr"], rng) for _ in range(8)]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*made)


@pytest.mark.parametrize("name", PRESETS)
def test_draws_follow_the_preset(name):
    preset, n = PRESETS[name], 1000
    rng = np.random.default_rng(9)
    draws = [draw(preset, rng, 512, 512) for _ in range(n)]

    def close(hits: list[bool], p: float) -> bool:
        return abs(np.mean(hits) - p) <= 4 * math.sqrt(p * (1 - p) / len(hits))

    assert close([d.sinc is not None for d in draws], preset.sinc)
    assert close([d.jpeg_last for d in draws], 0.5)
    for mode in MODES:
        assert close([d.mode == mode for d in draws], 1 / 3)
    for stage, drawn, unit in (
        (preset.first, [d.first for d in draws], 512),
        (preset.second, [d.second for d in draws], 128),
    ):
        assert close([s.kernel is not None for s in drawn], stage.blur.probability)
        factors = np.array([s.size[0] / unit for s in drawn])
        up, _, keep = stage.directions
        assert close(list(factors == 1), keep)
        assert close(list(factors > 1), up)
        assert factors.min() >= stage.resize[0] - 1 / unit
        assert factors.max() <= stage.resize[1]
        smaller = factors[factors < 1]
        uniform = scipy.stats.uniform(stage.resize[0], 1 - stage.resize[0])
        step = 1 / unit / (1 - stage.resize[0])  # sizes are whole pixels
        assert scipy.stats.kstest(smaller + 0.5 / unit, uniform.cdf).statistic < 2 / math.sqrt(smaller.size) + step
        kinds = {kind: [s.noise for s in drawn if s.noise.kind == kind] for kind in ("gaussian", "poisson")}
        assert close([s.noise.kind == "gaussian" for s in drawn], stage.gaussian)
        assert close([s.noise.gray for s in drawn], stage.gray)
        for span, strengths in (
            (stage.sigma, [noise.strength * 255 for noise in kinds["gaussian"]]),
            (stage.poisson, [noise.strength for noise in kinds["poisson"]]),
        ):
            uniform = scipy.stats.uniform(span[0], span[1] - span[0])
            assert scipy.stats.kstest(strengths, uniform.cdf).pvalue > 0.001
        qualities = [s.quality for s in drawn]
        assert (min(qualities), max(qualities)) == stage.jpeg
        assert len({s.noise.seed for s in drawn}) == n


def test_published_values():
    harsh, mild = PRESETS["realesrgan"], PRESETS["pisa_sr"]
    assert (harsh.first.resize, harsh.first.sigma, harsh.first.poisson, harsh.first.jpeg) == (
        (0.15, 1.5),
        (1, 30),
        (0.05, 3.0),
        (30, 95),
    )
    assert (harsh.second.blur.probability, harsh.second.resize, harsh.second.sigma) == (0.8, (0.3, 1.2), (1, 25))
    assert (mild.first.resize, mild.first.sigma, mild.first.poisson, mild.first.jpeg) == (
        (0.3, 1.5),
        (1, 15),
        (0.05, 2.0),
        (60, 95),
    )
    assert (mild.second.blur.probability, mild.second.resize, mild.second.jpeg) == (0.5, (0.6, 1.2), (60, 100))
    assert [PRESETS[name].sharpen for name in ("realesrgan", "seesr", "pisa_sr")] == [False, True, False]


def test_an_unknown_preset_is_named():
    with pytest.raises(UserError, match="unknown degradation preset 'pisa-sr', did you mean 'pisa_sr'"):
        Degradation.named("pisa-sr")
