"""Labels that do not overlap, and figures that become a part of a page."""

import re
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framer.report.figure_style import COLORS, FAINT, STYLE, TEXT, inline, label, panels, save, spread


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.01, 0.2))
def test_places_are_moved_apart_and_keep_their_order(places: list[float], gap: float) -> None:
    moved = spread(places, gap)
    order = sorted(range(len(places)), key=lambda number: places[number])
    assert all(moved[two] - moved[one] >= gap - 1e-9 for one, two in pairwise(order))
    if all(places[two] - places[one] >= gap for one, two in pairwise(order)):
        assert moved == pytest.approx(places)
    assert sum(moved) == pytest.approx(sum(places)), "nothing drifts"


@pytest.fixture
def svg(tmp_path: Path) -> str:
    with matplotlib.rc_context(STYLE):
        figure, [axis] = panels(1)
        axis.plot([0, 1], [0, 1], color=COLORS[0])
        axis.plot([0, 1], [0, 0.99], color=COLORS[1])
        axis.set(xlabel="step", title="a < b")
        label(axis, [(1, 1, "one", COLORS[0]), (1, 0.99, "two", COLORS[1])])
        save(figure, tmp_path / "f.svg", "svg")
    return (tmp_path / "f.svg").read_text()


def test_a_page_owns_colors_font_and_ids(svg: str) -> None:
    found = inline(svg, "curves", 'says "it"')
    assert found is not None and found.startswith('<svg role="img" aria-label="says &quot;it&quot;"')
    for color in (TEXT, FAINT, *COLORS[:2]):
        assert color not in found
    assert {"var(--text)", "var(--faint)", "var(--series-0)", "var(--series-1)"} <= set(
        re.findall(r"var\([^)]*\)", found)
    )
    assert all(name.startswith("curves-") for name in re.findall(r'id="([^"]*)"', found))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', found)) <= set(re.findall(r'id="([^"]*)"', found))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", found)
    assert {"step", "a &lt; b", "one", "two"} <= {text.strip() for text in texts}, "text stays text"
    assert "DejaVu" not in found and "system-ui" in found


def test_a_figure_without_panels_is_left_out(tmp_path: Path) -> None:
    figure, axes = panels(0)
    save(figure, tmp_path / "f.svg", "svg")
    assert axes == [] and inline((tmp_path / "f.svg").read_text(), "f", "") is None
