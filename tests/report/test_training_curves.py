import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

from framer.errors import UserError
from framer.report.training_curves import HEIGHT, POINTS, WIDTH, Curve, read_curves, svg


def log(folder: Path, losses: list[float]) -> None:
    rows = [f"control,{loss},{step},0.1\n" for step, loss in enumerate(losses, 1)]
    (folder / "log.csv").write_text("stage,loss,step,lr\n" + "".join(rows))


def test_read(tmp_path: Path):
    log(tmp_path, [4.0, 2.0])
    (tmp_path / "heldout.csv").write_text("stage,step,loss\ncontrol,0,3\ncontrol,2,1.5\n")
    assert read_curves(tmp_path) == {"control": Curve((1, 2), (4.0, 2.0), ((0, 3.0), (2, 1.5)))}


def test_stages_and_framer_terms_are_kept_apart(tmp_path: Path):
    text = "stage,step,loss,l2,framer,lpips\npixel,0,5,2,3,\npixel,1,4,2.5,1.5,\nsemantic,0,1,,,1\n"
    (tmp_path / "log.csv").write_text(text)
    (tmp_path / "heldout.csv").write_text("stage,step,loss\npixel,0,3\nsemantic,0,7\n")
    assert read_curves(tmp_path) == {
        "pixel": Curve((0, 1), (2.0, 2.5), ((0, 3.0),)),
        "semantic": Curve((0,), (1.0,), ((0, 7.0),)),
    }


def test_no_step_is_no_curve(tmp_path: Path):
    assert read_curves(tmp_path) == {}
    log(tmp_path, [])
    assert read_curves(tmp_path) == {}


def test_long_logs_are_averaged(tmp_path: Path):
    log(tmp_path, [float(step % 5) for step in range(POINTS * 5)])
    curve = read_curves(tmp_path)["control"]
    assert len(curve.steps) == POINTS
    assert curve.steps[-1] == POINTS * 5
    assert set(curve.losses) == {2.0}


def test_a_damaged_log_is_named(tmp_path: Path):
    (tmp_path / "log.csv").write_text("step,loss\n1,much\n")
    with pytest.raises(UserError, match=r"log\.csv: needs the columns stage, step and loss"):
        read_curves(tmp_path)


@pytest.mark.parametrize("losses", [(10.0, 1.0, 0.1), (1.0, 1.0, 1.0), (1.0, 0.0, 0.5)])
def test_drawing_stays_inside_and_falls_with_the_loss(losses: tuple[float, ...]):
    root = ElementTree.fromstring(svg(Curve((1, 2, 3), losses, ((3, losses[-1]),)), 'a "run" <b>'))
    assert root.attrib["aria-label"] == 'a "run" <b>'
    raw = next(element for element in root if element.attrib.get("class") == "raw")
    points = [tuple(map(float, point.split(","))) for point in raw.attrib["points"].split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    drops = [one > other for one, other in pairwise(losses)]
    assert [a[1] < b[1] for a, b in pairwise(points)] == drops


def test_decades_are_equally_far():
    root = ElementTree.fromstring(svg(Curve((1, 2, 3), (100.0, 10.0, 1.0), ()), "run"))
    raw = next(element for element in root if element.attrib.get("class") == "raw")
    heights = [float(point.split(",")[1]) for point in raw.attrib["points"].split()]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.11)
