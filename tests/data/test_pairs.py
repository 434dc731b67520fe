from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import framer.data.pairs as pairs
from framer.data.degradation.pipeline import apply, draw
from framer.data.degradation.presets import PRESETS
from framer.data.pairs import TrainingPairs, mirrored, texture, to_rgb, to_tensor
from framer.errors import UserError


@pytest.fixture
def photographs(tmp_path, noise_image):
    for number in range(3):
        noise_image(tmp_path / "a" / f"{number}.png", 70 + number, 80, seed=number)
    noise_image(tmp_path / "b" / "x.jpg", 64, 64, seed=9)
    return [tmp_path / "a", tmp_path / "b"]


def test_conversion_round_trip():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert np.array_equal(to_rgb(to_tensor(pixels)), pixels)
    assert to_tensor(pixels).shape == (3, 16, 16)
    assert np.array_equal(to_rgb(torch.tensor([-1.0, 0.5, 2.0])[:, None, None]), [[[0, 128, 255]]])


def test_shapes_and_ranges(photographs):
    _, lr, hr = TrainingPairs(photographs, 64, "pisa_sr", 0).batch(0, 3)
    assert (lr.shape, hr.shape) == ((3, 3, 16, 16), (3, 3, 64, 64))
    assert lr.dtype == hr.dtype == torch.float32
    for batch in (lr, hr):
        assert batch.min() >= 0
        assert batch.max() <= 1


def test_a_pair_depends_on_seed_and_number_alone(photographs):
    stream = TrainingPairs(photographs, 32, "realesrgan", 5)
    whole = stream.batch(0, 12)
    for other in (TrainingPairs(photographs, 32, "realesrgan", 5), stream):
        parts = [other.batch(step, 4) for step in (2, 0, 1)]
        assert parts[1][0] + parts[2][0] + parts[0][0] == whole[0]
        for i, tensor in enumerate(whole[1:], 1):
            assert torch.equal(torch.cat([parts[1][i], parts[2][i], parts[0][i]]), tensor)
    assert torch.equal(stream.pair(7)[2], whole[2][7])
    assert not torch.equal(TrainingPairs(photographs, 32, "realesrgan", 6).batch(0, 12)[2], whole[2])


def test_sets_too_large_for_memory_give_the_same_pairs(photographs, monkeypatch):
    kept = TrainingPairs(photographs, 32, "pisa_sr", 1).batch(0, 6)
    monkeypatch.setattr(pairs, "MEMORY", 1000)
    read = TrainingPairs(photographs, 32, "pisa_sr", 1).batch(0, 6)
    assert all(torch.equal(a, b) for a, b in zip(kept[1:], read[1:], strict=True))


def test_hr_is_a_piece_of_a_photograph_and_lr_is_made_of_it(photographs):
    images = [np.asarray(Image.open(path)) for folder in photographs for path in sorted(folder.iterdir())]
    stream = TrainingPairs(photographs, 32, "pisa_sr", 3)
    seen = set()
    for k in range(24):
        # The documented recipe, step by step, from the pair's own generator.
        rng = np.random.default_rng([3, k])
        index = int(rng.integers(len(images)))
        flip = rng.random() < 0.5
        top, left = (int(rng.integers(side - 31)) for side in images[index].shape[:2])
        crop = images[index][top : top + 32, left : left + 32]
        crop = crop[:, ::-1] if flip else crop
        _, lr, hr = stream.pair(k)
        assert np.array_equal(to_rgb(hr), crop)
        assert torch.equal(lr, apply(hr, draw(PRESETS["pisa_sr"], rng, 32, 32)))
        seen.add((index, flip))
    assert len(seen) > 5
    assert {index for index, *_ in seen} == {0, 1, 2, 3}


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 40), (3, 64), (13, 63), (64, 5), (64, 64), (70, 65), (70, 2)])
def test_small_photographs_are_mirrored_as_often_as_it_takes(size, tmp_path, noise_image):
    noise_image(tmp_path / "a.png", *size)
    image = np.asarray(Image.open(tmp_path / "a.png"))
    wanted = image
    for axis, length in enumerate(image.shape[:2]):
        widths = [(0, max(0, 64 - length) * (axis == other)) for other in range(3)]
        wanted = np.pad(wanted, widths, mode="reflect" if length > 1 else "edge")
    assert np.array_equal(mirrored(image, 64), wanted)
    if max(size) <= 64:  # there is one crop
        _, lr, hr = TrainingPairs([tmp_path], 64, "pisa_sr", 0).batch(0, 8)
        assert (lr.shape, hr.shape) == ((8, 3, 16, 16), (8, 3, 64, 64))
        assert all(any(np.array_equal(to_rgb(one), other) for other in (wanted, wanted[:, ::-1])) for one in hr)


def test_a_small_photograph_changes_no_pair_of_another(photographs, noise_image):
    crop = 68
    noise_image(photographs[0] / "2.png", 90, 20)
    stream = TrainingPairs(photographs, crop, "pisa_sr", 3)
    images = [np.asarray(Image.open(path)) for path in stream.paths]
    for k in range(16):
        rng = np.random.default_rng([3, k])
        image = images[int(rng.integers(4))]
        if min(image.shape[:2]) >= crop:
            flip = rng.random() < 0.5
            top, left = (int(rng.integers(side - crop + 1)) for side in image.shape[:2])
            piece = image[top : top + crop, left : left + crop]
            assert np.array_equal(to_rgb(stream.pair(k)[2]), piece[:, ::-1] if flip else piece)


def test_sharpening_presets_sharpen_the_target(photographs):
    plain = TrainingPairs(photographs, 64, "realesrgan", 0).batch(0, 2)[2]
    sharp = TrainingPairs(photographs, 64, "seesr", 0).batch(0, 2)[2]
    assert sharp.std() > plain.std()


def test_refusals(photographs):
    with pytest.raises(UserError, match="unknown degradation preset"):
        TrainingPairs(photographs, 32, "bicubic", 0)
    with pytest.raises(UserError, match="no multiple of 4"):
        TrainingPairs(photographs, 30, "pisa_sr", 0)
    with pytest.raises(UserError, match="no such folder"):
        TrainingPairs([*photographs, photographs[0] / "nowhere"], 32, "pisa_sr", 0)


def orientations(stream: TrainingPairs, image: np.ndarray, samples: int) -> list[tuple[int, int]]:
    """How each of many crops of a photograph of that size lies in it: flipped, and turned by so many quarters."""
    ways = {(f, k): np.rot90(image[:, ::-1] if f else image, k) for f in (0, 1) for k in range(4)}
    found = []
    for k in range(samples):
        crop = to_rgb(stream.pair(k)[2])
        found += [way for way, turned in ways.items() if np.array_equal(crop, turned)]
    return found


def test_crops_are_flipped_in_half_of_the_cases_and_turned_only_where_asked(tmp_path, noise_image):
    image = noise_image(tmp_path / "a" / "0.png", 32, 32)
    flipped = orientations(TrainingPairs([tmp_path / "a"], 32, "pisa_sr", 1), image, 200)
    assert {turns for _, turns in flipped} == {0} and len(flipped) == 200
    assert 70 < sum(flip for flip, _ in flipped) < 130  # four standard deviations
    turned = orientations(TrainingPairs([tmp_path / "a"], 32, "pisa_sr", 1, augmentation="flip_rotate"), image, 200)
    assert all(20 < sum(turns == k for _, turns in turned) < 80 for k in range(4))


def test_texture_is_the_mean_of_sobel_written_out():
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    padded = np.pad(crop / 255, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    smooth, slope = np.array([1, 2, 1]), np.array([-1, 0, 1])
    total = 0.0
    for y, x, c in np.ndindex(crop.shape):
        window = padded[y : y + 3, x : x + 3, c]
        total += np.hypot(smooth @ window @ slope, slope @ window @ smooth)
    assert texture(crop) == pytest.approx(total / crop.size, rel=1e-6)
    edge = np.zeros((8, 8, 1), np.uint8)
    edge[:, 4:] = 255
    assert texture(edge) == pytest.approx(4 * 2 / 8)


@pytest.fixture
def half_flat(tmp_path) -> Path:
    """A large photograph, flat on its left half, and a small one of noise."""
    rng = np.random.default_rng(0)
    image = np.full((512, 1024, 3), 128, np.uint8)
    image[:, 512:] = rng.integers(0, 256, (512, 512, 3))
    (tmp_path / "photos" / "HR").mkdir(parents=True)
    Image.fromarray(image).save(tmp_path / "photos" / "HR" / "half.png")
    Image.fromarray(image[:300, 512:812]).save(tmp_path / "photos" / "HR" / "small.png")
    return tmp_path / "photos" / "HR"


def test_textured_crops_leave_out_small_photographs_and_flat_places(half_flat):
    plain = TrainingPairs([half_flat], 64, "pisa_sr", 0)
    stream = TrainingPairs([half_flat], 64, "pisa_sr", 0, crops="textured")
    assert {stream.pair(k)[0] for k in range(40)} == {"photos/half"}
    assert {plain.pair(k)[0] for k in range(40)} == {"photos/half", "photos/small"}
    values = [texture(to_rgb(stream.pair(k)[2])) for k in range(40)]
    assert min(values) > 0.2 >= min(texture(to_rgb(plain.pair(k)[2])) for k in range(40))


def test_a_photograph_without_texture_gives_its_last_crop(tmp_path):
    """The 50th place that is drawn, written out."""
    (tmp_path / "photos" / "HR").mkdir(parents=True)
    rows = np.arange(400)[:, None, None] // 4 + np.random.default_rng(0).integers(0, 2, (400, 400, 3))
    path = tmp_path / "photos" / "HR" / "ramp.png"
    Image.fromarray(rows.astype(np.uint8)).save(path, compress_level=0)
    hr = to_rgb(TrainingPairs([path.parent], 32, "pisa_sr", 4, crops="textured").pair(2)[2])
    rng = np.random.default_rng([4, 2])
    rng.integers(1)
    flip = rng.random() < 0.5
    places = [[int(rng.integers(400 - 31)) for _ in range(2)] for _ in range(50)]
    crop = rows[places[-1][0] :, places[-1][1] :][:32, :32]
    assert np.array_equal(hr, crop[:, ::-1] if flip else crop)


def test_textured_crops_need_a_large_photograph(photographs):
    with pytest.raises(UserError) as error:
        TrainingPairs(photographs, 32, "pisa_sr", 0, crops="textured")
    assert error.value.code == "missing"
