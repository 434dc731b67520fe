import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

from framer.errors import UserError
from framer.report.curves import HEIGHT, POINTS, WIDTH, Curve, read_curve, svg


def log(folder: Path, losses: list[float]) -> None:
    rows = [f"{loss},{step},0.1\n" for step, loss in enumerate(losses, 1)]
    (folder / "log.csv").write_text("loss,step,lr\n" + "".join(rows))


def test_read(tmp_path: Path):
    log(tmp_path, [4.0, 2.0])
    (tmp_path / "heldout.csv").write_text("stage,step,loss\ntrain,0,3\ntrain,2,1.5\n")
    assert read_curve(tmp_path) == Curve((1, 2), (4.0, 2.0), ((0, 3.0), (2, 1.5)))


def test_no_step_is_no_curve(tmp_path: Path):
    assert read_curve(tmp_path) is None
    log(tmp_path, [])
    assert read_curve(tmp_path) is None


def test_long_logs_are_averaged(tmp_path: Path):
    log(tmp_path, [float(step % 5) for step in range(POINTS * 5)])
    curve = read_curve(tmp_path)
    assert curve is not None
    assert len(curve.steps) == POINTS
    assert curve.steps[-1] == POINTS * 5
    assert set(curve.losses) == {2.0}


def test_a_damaged_log_is_named(tmp_path: Path):
    (tmp_path / "log.csv").write_text("step,loss\n1,much\n")
    with pytest.raises(UserError, match=r"log\.csv: needs the columns step and loss"):
        read_curve(tmp_path)


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
