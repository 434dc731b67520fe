import dataclasses
import io
import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import skimage.data
import torch
from PIL import Image

from framer.data.degradation import (
    MODES,
    Draw,
    Noise,
    StageDraw,
    add_noise,
    apply,
    blur,
    degrade,
    draw,
    jpeg,
    quantise,
    resize,
    sharpen,
    shot_noise,
    target,
)
from framer.data.kernels import gaussian, plateau, sinc
from framer.data.presets import PRESETS, Degradation
from framer.errors import UserError

QUIET = Noise("gaussian", 0.0, False, 0)


def photograph(side: int = 96) -> torch.Tensor:
    pixels = skimage.data.astronaut()[100 : 100 + side, 150 : 150 + side]
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255


@pytest.mark.parametrize("shape", [(24, 24), (61, 47), (9, 30), (3, 5)])
@pytest.mark.parametrize("kernel", [gaussian(21, 3, 1, 0.5), sinc(13, 1.2), plateau(7, 1, 2, 1.0, 0.7)])
def test_blur_is_mirrored_correlation(shape, kernel):
    image = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    skewed = kernel * np.linspace(0.5, 1.5, kernel.size, dtype=np.float32).reshape(kernel.shape)
    expected = np.stack([scipy.ndimage.correlate(plane, skewed, mode="mirror") for plane in image.numpy()])
    assert np.abs(blur(image, skewed).numpy() - expected).max() < 2e-6


def test_blur_keeps_a_constant():
    assert torch.allclose(blur(torch.full((3, 33, 20), 0.7), gaussian(21, 3, 3)), torch.tensor(0.7), atol=1e-6)


@pytest.mark.parametrize("size", [(40, 62), (150, 70), (96, 96)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resize_agrees_with_a_second_implementation(mode, size):
    cv2 = pytest.importorskip("cv2")
    image = photograph()
    method = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[mode]
    expected = cv2.resize(image.permute(1, 2, 0).numpy(), size[::-1], interpolation=method)
    assert np.abs(resize(image, size, mode).permute(1, 2, 0).numpy() - expected).max() < 1e-3


def test_area_is_the_mean_of_blocks():
    image = photograph()
    expected = image.reshape(3, 24, 4, 24, 4).mean((2, 4))
    assert torch.allclose(resize(image, (24, 24), "area"), expected, atol=1e-6)


def test_gaussian_noise_has_its_strength_and_channels():
    flat = torch.full((3, 128, 128), 0.5)
    colour = add_noise(flat, Noise("gaussian", 0.04, False, 7)) - flat
    gray = add_noise(flat, Noise("gaussian", 0.04, True, 7)) - flat
    assert colour.std().item() == pytest.approx(0.04, rel=0.02)
    assert abs(colour.mean().item()) < 4 * 0.04 / math.sqrt(colour.numel())
    assert abs(np.corrcoef(colour.flatten(1).numpy())[0, 1]) < 0.05
    assert torch.equal(gray[0], gray[1])
    assert torch.equal(gray[0], gray[2])
    assert scipy.stats.kstest(colour.flatten().numpy() / 0.04, "norm").pvalue > 0.01


def test_noise_is_clipped():
    noisy = add_noise(torch.tensor([0.0, 1.0]).repeat(3, 64, 32), Noise("gaussian", 0.1, False, 1))
    assert noisy.min() == 0
    assert noisy.max() == 1


def test_poisson_noise_is_poisson():
    # 256 distinct levels make 256 photons at full brightness; the rest of the image is one level.
    ramp = torch.arange(256).float().repeat(3, 1, 1) / 255
    for level in (3, 40, 200):
        image = torch.cat([ramp, torch.full((3, 200, 256), level / 255)], 1)
        noise = (add_noise(image, Noise("poisson", 0.5, False, level)) - image)[:, 1:]
        counts = (noise / 0.5 + level / 255) * 256
        assert torch.allclose(counts, counts.round(), atol=1e-2)
        rate = level / 255 * 256
        values = counts.round().flatten().numpy()
        inner = (values > values.min()) & (values < values.max())
        observed = np.bincount(values[inner].astype(int))
        support = np.flatnonzero(observed >= 25)
        expected = scipy.stats.poisson.pmf(support, rate) * values.size
        assert ((observed[support] - expected) ** 2 / expected).sum() < scipy.stats.chi2.ppf(0.999, len(support))
        assert values.mean() == pytest.approx(rate, rel=0.01)
        assert values.var() == pytest.approx(rate, rel=0.03)


@pytest.mark.parametrize("photons", [2, 16, 256])
def test_shot_noise_inverts_the_poisson_distribution(photons):
    levels = torch.linspace(0, 255, photons).round().to(torch.uint8)
    for u in (0.0, 1e-6, 0.3, 0.5, 0.97, 1 - 2**-24):
        uniform = torch.full(levels.shape, u)
        counts = (shot_noise(levels, uniform) + levels / 255) * photons
        middle = np.float64(uniform[0].item()) + 2**-25
        expected = scipy.stats.poisson.ppf(middle, levels.numpy() / 255 * photons)
        assert np.allclose(counts.numpy(), expected, atol=1e-3)


def test_fewer_levels_mean_fewer_photons():
    # Two levels: two photons at full brightness, so noise comes in steps of 1/2.
    image = torch.tensor([0.2, 0.8]).repeat(3, 64, 64)
    noise = add_noise(image, Noise("poisson", 0.01, False, 3)) - image
    steps = (noise / 0.01 + image) * 2
    assert torch.allclose(steps, steps.round(), atol=1e-3)


def test_gray_poisson_noise_is_shared_and_follows_luma():
    image = torch.zeros(3, 200, 256)
    image[1] = torch.arange(256).float() / 255  # green alone: luma 0.587 of it
    noise = add_noise(image, Noise("poisson", 0.3, True, 5)) - image
    bright = noise[:, :, 200]
    assert torch.allclose(bright[0].clamp(min=0), bright[1].clamp(min=0), atol=1e-6)
    # round(0.587 * 255) = 150 is the brightest, so 151 distinct levels and 256 photons.
    assert (bright[1] / 0.3).var().item() == pytest.approx(0.587 * 200 / 255 / 256, rel=0.35)


def test_poisson_noise_of_one_pixel_depends_on_that_pixel_alone():
    image = photograph()
    other = image.clone()
    other[:, 50, 50] = other[:, 50, 51]
    difference = add_noise(image, Noise("poisson", 1.0, False, 2)) != add_noise(other, Noise("poisson", 1.0, False, 2))
    assert difference.any(0).sum() <= 1


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_agrees_with_a_second_codec(quality):
    cv2 = pytest.importorskip("cv2")
    image = photograph()
    bgr = (image.permute(1, 2, 0).numpy()[:, :, ::-1] * 255).round().astype(np.uint8)
    _, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(file, cv2.IMREAD_COLOR)[:, :, ::-1]
    made = (jpeg(image, quality) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(made - expected.astype(float)).max() <= 2


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
    field = np.random.Generator(np.random.SFC64(noise.seed)).standard_normal(shape, dtype=np.float32)
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
        assert torch.equal(lr, quantise(lr))
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
    preset, n = PRESETS[name], 2500
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
