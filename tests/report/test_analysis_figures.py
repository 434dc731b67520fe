"""Figures of analyses: drawn of what was recorded, named after their backbone, shown in the report."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from framer.analysis import arrays
from framer.data.images import write_png
from framer.errors import UserError
from framer.provenance.cards import write_card
from framer.report import analysis_figures, page
from framer.report.catalog import OF_BACKBONES
from framer.report.figures import render
from framer.study.layout import OF_STUDIES
from framer.study.study import Study
from tests.fixtures.finished_study import STUDY

BANDS = ("low", "high")
FILES = {
    "densities": ({"density": (2, 9), "deviation": (2, 9), "edges": (10,)}, {"band": BANDS}),
    "layers": (
        {"similarity": (2, 2, 6, 4)},
        {"band": BANDS, "arm": ("pisa_sr-baseline", "pisa_sr-framer")},
    ),
    "images": ({"similarity": (2, 5, 5)}, {"band": BANDS}),
    "weights": ({"faw": (2, 2, 6, 4), "fam": (2, 2, 6, 4)}, {"band": BANDS, "moment": ("step 5", "end")}),
}


def record(folder: Path, *names: str) -> None:
    """Small arrays, and images of two recipes at two steps."""
    rng = np.random.default_rng(0)
    for name in names:
        shapes, labels = FILES[name]
        values = {key: np.sort(rng.random(shape), axis=0) for key, shape in shapes.items()}
        arrays.write(folder / f"{name}.npz", values, labels, {"feature": "magnitude", "masks": "radial"})
    for recipe in ("paper", "no_fam"):
        for step in (100, 20):
            write_png(folder / f"early/{recipe}/{step}/im_0.png", np.full((40, 36, 3), step, dtype=np.uint8))
    write_png(folder / "early/HR/im_0.png", np.full((40, 36, 3), 255, dtype=np.uint8))
    write_card(folder, "analysis", [])


@pytest.fixture
def analysed(with_images: Study) -> Study:
    with_images.path.write_text(STUDY + "analysis: {set: pairs-a, images: 2}\n")
    study = Study.load(with_images.path)
    record(study.out / "analysis/pisa_sr", *FILES)
    return study


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def test_values_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path) -> None:
    path, labels = tmp_path / "layers.npz", {"band": ("low", "high")}
    values = np.ones((1, 2, 3, 4))
    arrays.write(path, {"similarity": values}, labels)
    values[0, 1, 2, 3] = np.nan
    with pytest.raises(UserError) as error:
        arrays.write(path, {"similarity": values}, labels)
    assert (error.value.code, error.value.key) == ("diverged", "similarity")
    assert np.isfinite(arrays.read(path).arrays["similarity"]).all(), "the file of before stays"
    with np.load(path) as file:
        content = {name: file[name] for name in file.files} | {"similarity": values}
    np.savez(path, **content)
    with pytest.raises(UserError) as error:
        arrays.read(path)
    assert error.value.code == "unreadable"


def test_figures_of_a_backbone_are_named_after_it_and_have_the_same_bytes_again(analysed: Study):
    render(analysed, Path("one"), missing={"pairs-b": "by hand"})
    render(analysed, Path("two"), missing={"pairs-b": "by hand"})
    own = {f"pisa_sr-{name}" for name in ("densities", "layers", "images")}
    assert {path.stem for path in Path("one").glob("[!.]*")} == {*OF_STUDIES, *own}
    for name in own:
        for kind in ("svg", "pdf"):
            assert Path("one", f"{name}.{kind}").read_bytes() == Path("two", f"{name}.{kind}").read_bytes()


def test_an_unfinished_analysis_is_not_drawn(analysed: Study):
    (analysed.out / "analysis/pisa_sr/card.json").unlink()
    render(analysed, Path("one"), missing={"pairs-b": "by hand"})
    assert {path.stem for path in Path("one").glob("[!.]*")} == {*OF_STUDIES}


@pytest.mark.parametrize("name", FILES)
def test_a_figure_says_of_what_it_is(analysed: Study, name: str):
    figure = analysis_figures.draw(analysed, "pisa_sr", analysed.out / f"analysis/pisa_sr/{name}.npz")
    said = texts(figure)
    assert {"pisa_sr", "feature: magnitude; masks: radial"} <= said
    if name == "layers":
        assert {"Base & <b>line</b>", "FRAMER_U"} <= said, "arms by their labels"


def test_early_images_stand_side_by_side(analysed: Study):
    figure = analysis_figures.draw(analysed, "pisa_sr", analysed.out / "analysis/pisa_sr/early")
    found = [(axis.get_title(), axis.get_ylabel(), int(axis.get_images()[0].get_array().max())) for axis in figure.axes]
    assert found == [
        ("step 20", "paper\nim_0", 20),
        ("step 100", "", 100),
        ("HR", "", 255),
        ("", "no_fam\nim_0", 20),
        ("", "", 100),
        ("", "", 255),
    ]


def test_a_lost_early_image_is_named(analysed: Study):
    (analysed.out / "analysis/pisa_sr/early/no_fam/20/im_0.png").unlink()
    with pytest.raises(UserError, match=r"no_fam/20/im_0\.png: no such file"):
        analysis_figures.draw(analysed, "pisa_sr", analysed.out / "analysis/pisa_sr/early")


def test_the_report_shows_them_with_what_they_are(analysed: Study):
    render(analysed, analysed.out / "figures", missing={"pairs-b": "by hand"})
    page.render(analysed, Path("report.html"), missing={"pairs-b": "by hand"})
    shown = Path("report.html").read_text(encoding="utf-8")
    for name in ("densities", "layers", "images"):
        caption = OF_BACKBONES[name].replace("'", "&#39;")
        assert f"pisa_sr: {caption}" in shown
    assert OF_BACKBONES["weights"] not in shown
