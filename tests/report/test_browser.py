"""The report in a real browser: slider, zoom, keys, no errors, no network."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from framer.report.page import render
from framer.study.study import Study
from tests.report.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture
def page(with_images: Study, tmp_path: Path) -> Iterator[Browser]:
    render(with_images, Path("report.html"), absent={"pairs-b": "pairs-b is by hand"})
    browser = Browser(Path("report.html"), tmp_path / "profile")
    yield browser
    browser.close()


def style(page: Browser, name: str, strip: int = 0) -> str:
    return page.value(f"document.querySelectorAll('.strip')[{strip}].style.getPropertyValue('{name}')")


def test_the_report_is_used(page: Browser):
    left, top, width, height = page.box(".stage")
    middle = top + height / 2
    page.drag((left + width / 2, middle), (left + 0.25 * width, middle))
    assert float(style(page, "--cut").rstrip("%")) == pytest.approx(25, abs=1)
    assert page.value("document.querySelector('.strip input[type=range]').value") == "25"

    page.value("document.querySelector('.stage').focus()")
    for key in ("]", "+", "+", "ArrowLeft"):
        page.press(key)
    assert [style(page, name) for name in ("--cut", "--zoom", "--x", "--y")] == ["30%", "4", "10%", "0%"]
    transforms = page.value(
        "[...document.querySelectorAll('.strip')[0].querySelectorAll('img')].map(i => getComputedStyle(i).transform)"
    )
    assert len({text.partition(",")[0] for text in transforms}) == 1, "all pictures of a row are zoomed together"
    assert transforms[0].startswith("matrix(4,")
    assert style(page, "--zoom", strip=1) == "", "and those of another row are not"
    page.drag((left + width / 2, middle), (left + width / 2 + 0.2 * width, middle))
    assert float(style(page, "--x").rstrip("%")) == pytest.approx(30, abs=1), "zoomed in, dragging moves the picture"
    page.press("0")
    assert [style(page, name) for name in ("--zoom", "--x", "--cut")] == ["1", "0%", "30%"]

    source = "document.querySelector('.strip .over img').src"
    before = page.value(source)
    change = (
        "(v => {{ const s = document.querySelector('.strip {0}'); s.value = v; s.dispatchEvent(new Event('change')) }})"
    )
    page.value(change.format(".left") + "(3)")
    other = page.value(source)
    assert other != before
    page.value(change.format(".view") + "('high')")
    assert page.value(source) not in (before, other)
    assert page.value(source) == page.value("document.querySelectorAll('.strip .frame img')[3].dataset.high")

    assert page.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.value("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out to the right"
    assert page.complaints == []


def test_keyboard_alone_reaches_everything(page: Browser):
    page.value("document.querySelector('.stage').focus()")
    reached = []
    for _ in range(7):
        page.press("Tab")
        reached.append(page.value("document.activeElement.className || document.activeElement.type"))
    assert reached == ["range", "left", "right", "view", "out", "in", "reset"]
