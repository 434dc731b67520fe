from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from framer.analysis import arrays
from framer.errors import UserError
from framer.report.figure_style import inline
from framer.report.figures import curves, render
from framer.report.gallery import restored
from framer.report.power_spectrum import BINS, decibels, frequencies, radial_power
from framer.study.layout import OF_STUDIES
from framer.study.study import Study


def test_every_figure_twice_with_the_same_bytes(with_images: Study):
    render(with_images, Path("one"), missing={"pairs-b": "by hand"})
    render(with_images, Path("two"), missing={"pairs-b": "by hand"})
    names = {f"{name}.{kind}" for name in OF_STUDIES for kind in ("pdf", "svg")}
    assert {path.name for path in Path("one").glob("[!.]*")} == names
    for name in names:
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    shown = {name for name in OF_STUDIES if inline(Path("one", f"{name}.svg").read_text(), name, "")}
    assert shown == {"scatter", "curves", "spectra"}, "no metric of this study needs no HR"


def test_a_study_of_scores_alone(study: Study):
    render(study, Path("figures"))
    assert {path.stem for path in Path("figures").glob("[!.]*")} == set(OF_STUDIES)
    shown = {name for name in OF_STUDIES if inline(Path("figures", f"{name}.svg").read_text(), name, "")}
    assert shown == {"scatter"}


def test_power_of_a_wave_lies_at_its_frequency():
    x = np.arange(96)
    wave = np.tile(128 + 60 * np.sin(2 * np.pi * 0.2 * x), (96, 1))
    power = radial_power(np.repeat(wave[..., None], 3, 2).round().astype(np.uint8))
    assert frequencies()[np.nanargmax(power)] == pytest.approx(0.2, abs=1 / (2 * BINS))


def test_white_noise_is_flat_and_as_strong_as_its_variance():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (256, 250, 1), dtype=np.uint8).repeat(3, 2)
    power = radial_power(grey)
    assert power[2:].mean() == pytest.approx(grey.astype(float).var(), rel=0.03)
    assert power[2:].std() / power[2:].mean() < 0.15


def test_levels_on_a_page_are_of_one_scale():
    """LR has the levels of HR where both have frequencies: a wave seen at a quarter of the pixels is as strong."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (256, 256, 1), dtype=np.uint8).repeat(3, 2)
    levels = [level for level in decibels(noise)[4:] if level is not None]
    assert np.ptp(levels) < 25 and np.mean(levels) == pytest.approx(100 * np.log10(noise.astype(float).var()), abs=3)
    blurred = 128 + 500 * gaussian_filter(rng.standard_normal((512, 512)), 6, mode="wrap")
    high = np.repeat(blurred[..., None], 3, 2).round().astype(np.uint8)
    low = [level for level in decibels(high[::4, ::4], 4)[4:8] if level is not None]
    assert decibels(high)[1] == pytest.approx(np.mean(low), abs=10), "four rings of LR are as wide as one"
    flat = decibels(np.full((8, 8, 3), 7, dtype=np.uint8))
    assert None in flat and {level for level in flat if level is not None} == {-600}


def test_arrays_come_back_as_they_went(tmp_path: Path):
    values = np.linspace(-1, 1, 48).reshape(2, 2, 6, 2)
    arrays.write(tmp_path / "layers.npz", {"similarity": values}, {"band": ("low", "high")})
    found = arrays.read(tmp_path / "layers.npz")
    assert np.array_equal(found.arrays["similarity"], values)
    assert found.along("band", 2) == ("low", "high")
    assert found.along("layer", 3) == ("0", "1", "2")
    content = (tmp_path / "layers.npz").read_bytes()
    arrays.write(tmp_path / "layers.npz", {"similarity": values}, {"band": ("low", "high")})
    assert (tmp_path / "layers.npz").read_bytes() == content


def test_arrays_that_contradict_their_axes_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="axis band is 2 long in similarity and 3 elsewhere"):
        arrays.write(tmp_path / "images.npz", {"similarity": np.zeros((2, 4, 4))}, {"band": ("a", "b", "c")})
    with pytest.raises(ValueError, match="needs the arrays faw, fam"):
        arrays.write(tmp_path / "weights.npz", {"faw": np.zeros((1, 2, 3, 4))}, {})
    (tmp_path / "images.npz").write_bytes(b"PK no")
    with pytest.raises(UserError, match=r"images\.npz: not the arrays of images"):
        arrays.read(tmp_path / "images.npz")


def test_a_damaged_image_is_named(with_images: Study):
    path = Path("datasets/pairs-a/HR/im_0.png")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"im_0\.png"):
        render(with_images, Path("figures"), missing={"pairs-b": "by hand"})


def test_curves_name_each_arm_once_and_ablations_together(study: Study):
    text = study.path.read_text() + "ablations:\n  pisa_sr: {recipes: [no_faw, no_fam, l2]}\n"
    study.path.write_text(text)
    study = Study.load(study.path)
    for k, run in enumerate(study.runs):
        folder = study.out / "runs" / run
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.csv").write_text("stage,step,loss\n" + "".join(f"pixel,{s},{1 + k / s}\n" for s in (1, 2, 3)))
    [axis] = curves(study).axes
    assert [text.get_text() for text in axis.texts] == ["Base & <b>line</b>", "FRAMER_U", "ablations"]
    means = [line for line in axis.get_lines() if list(line.get_xdata()) == [1, 2, 3] and line.get_alpha() is None]
    colors = [line.get_color() for line in means]
    assert len(colors) == len(study.runs) == 10
    # Two seeds of each of two arms, then two of each of three ablations.
    assert colors[0] == colors[1] != colors[2] == colors[3]
    assert set(colors[4:]).isdisjoint(colors[:4])
    assert len(set(colors[4:])) == 1


def test_images_that_are_not_finished_are_not_shown(with_images: Study):
    assert set(restored(with_images, "pairs-a")) == set(with_images.config.arms)
    (with_images.out / "images/pisa_sr-framer-s0/pairs-a/card.json").unlink()
    assert set(with_images.config.arms) - set(restored(with_images, "pairs-a")) == {"pisa_sr-framer"}
