"""The report in a real browser: slider, zoom, keys, no errors, no network."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from framer.report.figures import render as render_figures
from framer.report.page import render
from framer.study.study import Study
from tests.fixtures.finished_study import write_scores

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
        )
        yield browser
        browser.close()


@dataclass
class Report:
    """A report opened from disk.

    Attributes:
        page: Playwright's page, which drags, presses keys and evaluates expressions.
        complaints: lines of the console, exceptions, and requests for anything but the page itself.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)

    def open(self, path: Path) -> None:
        url = path.resolve().as_uri()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._requested(request.url, url))
        self.page.goto(url)

    def _requested(self, url: str, own: str) -> None:
        if url != own and not url.startswith("data:"):
            self.complaints.append(url[:80])

    def value(self, script: str) -> Any:
        """Evaluate an expression on the page."""
        return self.page.evaluate(script)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Scroll the first such element into the window; returns its left, top, width and height."""
        element = self.page.locator(selector).first
        element.scroll_into_view_if_needed()
        box = element.bounding_box()
        assert box is not None
        return box["x"], box["y"], box["width"], box["height"]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Hold the left button from one point of the window to another."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*end)
        mouse.up()

    def style(self, name: str, strip: int = 0) -> str:
        """A CSS variable of a row of pictures."""
        return self.value(f"document.querySelectorAll('.strip')[{strip}].style.getPropertyValue('{name}')")


@pytest.fixture
def both(with_images: Study) -> Study:
    """The study under two protocols."""
    path = with_images.path
    path.write_text(path.read_text().replace("[osediff]", "[osediff, framer]"))
    study = Study.load(path)
    for row in study.rows:
        for set_id in study.config.sets:
            values = {f"im_{i}.png": {"psnr": 20.0 + i, "ssim": 0.4} for i in range(8)}
            write_scores(study.out / "scores" / row / set_id / "framer.csv", values, {"lpips": "none"}, "framer")
    return study


@pytest.fixture
def report(with_images: Study, chromium: Browser) -> Iterator[Report]:
    render(with_images, Path("report.html"), missing={"pairs-b": "pairs-b is by hand"})
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    opened = Report(page)
    opened.open(Path("report.html"))
    yield opened
    page.close()


def test_the_report_is_used(report: Report):
    left, top, width, height = report.box(".stage")
    middle = top + height / 2
    report.drag((left + width / 2, middle), (left + 0.25 * width, middle))
    assert float(report.style("--cut").rstrip("%")) == pytest.approx(25, abs=1)
    assert report.value("document.querySelector('.strip input[type=range]').value") == "25"

    report.page.locator(".stage").first.focus()
    for key in ("]", "+", "+", "ArrowLeft"):
        report.page.keyboard.press(key)
    assert [report.style(name) for name in ("--cut", "--zoom", "--x", "--y")] == ["30%", "4", "10%", "0%"]
    transforms = report.value(
        "[...document.querySelectorAll('.strip')[0].querySelectorAll('img')].map(i => getComputedStyle(i).transform)"
    )
    assert len({text.partition(",")[0] for text in transforms}) == 1, "all pictures of a row are zoomed together"
    assert transforms[0].startswith("matrix(4,")
    assert report.style("--zoom", strip=1) == "", "and those of another row are not"
    report.drag((left + width / 2, middle), (left + width / 2 + 0.2 * width, middle))
    assert float(report.style("--x").rstrip("%")) == pytest.approx(30, abs=1), "zoomed in, dragging moves the picture"
    report.page.keyboard.press("0")
    assert [report.style(name) for name in ("--zoom", "--x", "--cut")] == ["1", "0%", "30%"]

    source = "document.querySelector('.strip .over img').src"
    before = report.value(source)
    strip = report.page.locator(".strip").first
    strip.locator(".left").select_option("3")
    other = report.value(source)
    assert other != before
    strip.locator(".view").select_option("high")
    assert report.value(source) not in (before, other)
    assert report.value(source) == report.value("document.querySelectorAll('.strip .frame img')[3].dataset.high")

    assert report.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert report.value("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out to the right"
    assert report.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_width_and_scheme(both: Study, chromium: Browser, scheme: Literal["light", "dark"]):
    render_figures(both, both.out / "figures", missing={"pairs-b": "pairs-b is by hand"})
    render(both, Path("report.html"), missing={"pairs-b": "pairs-b is by hand"})
    page = chromium.new_page(color_scheme=scheme)
    opened = Report(page)
    opened.open(Path("report.html"))
    for width in (400, 1000, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert opened.value("document.documentElement.scrollWidth <= innerWidth"), f"something sticks out at {width}"
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    figures = page.locator("figure.figure svg")
    names = [figure.get_attribute("aria-label") for figure in figures.all()]
    assert len(names) == len({*names}) == 3, "each figure once, and none for the plane, which has no metric"
    page_color = opened.value("getComputedStyle(document.body).backgroundColor")
    assert (page_color == "rgb(251, 251, 250)") == (scheme == "light")
    fonts = "[...document.querySelectorAll('figure.figure text')].map(t => getComputedStyle(t).fontFamily)"
    assert set(opened.value(fonts)) == {opened.value("getComputedStyle(document.body).fontFamily")}
    assert opened.complaints == []
    page.close()


def test_tables_are_used(both: Study, chromium: Browser):
    render(both, Path("report.html"), missing={"pairs-b": "pairs-b is by hand"})
    context = chromium.new_context(viewport={"width": 1000, "height": 700})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    opened = Report(page)
    opened.open(Path("report.html"))
    results = page.locator("#results")
    tabs = results.get_by_role("tablist", name="Protocol").get_by_role("tab")
    panels = results.locator("[role=tabpanel]")
    assert tabs.all_inner_texts() == ["osediff", "framer"]
    tabs.first.focus()
    for key, shown in (("ArrowRight", "framer"), ("ArrowRight", "osediff"), ("End", "framer"), ("Home", "osediff")):
        page.keyboard.press(key)
        assert page.locator("[role=tab][aria-selected=true]").all_inner_texts() == [shown] * 2, "in both sections"
        assert results.get_by_role("tabpanel").evaluate_all("all => all.map(p => p.dataset.protocol)") == [shown]
    page.emulate_media(media="print")
    assert panels.evaluate_all("all => all.map(p => p.checkVisibility())") == [True, True]
    page.emulate_media(media="screen")

    about = page.locator(".about")
    number = results.get_by_role("cell", name="28.25").first
    number.hover()
    texts = [about.inner_text()]
    page.mouse.move(0, 0)
    assert about.is_hidden()
    results.locator("table [tabindex='0']").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    assert opened.value("document.activeElement.textContent") == "28.25"
    expect(number).to_have_accessible_description(" ".join(texts[0].split()))
    texts.append(about.inner_text())
    page.keyboard.press("Escape")
    assert about.is_hidden()
    assert texts[0] == texts[1]
    for part in ("8 images, seeds 0, 1", "95% over new images (", "95% over new seeds (", "cell "):
        assert part in texts[0]
    assert results.locator("table").first.locator("[tabindex='0']").count() == 1, "one stop of the Tab key"

    for kind, start in (("LaTeX", "\\begin{table}"), ("CSV", "Group,Method,PSNR ↑")):
        results.get_by_role("button", name=f"Copy as {kind}").first.click()
        results.get_by_text(f"{kind} copied").wait_for()
        assert opened.value("navigator.clipboard.readText()").startswith(start)
    assert opened.complaints == []
    context.close()


def test_keyboard_alone_reaches_everything(report: Report):
    report.page.locator(".stage").first.focus()
    reached = []
    for _ in range(7):
        report.page.keyboard.press("Tab")
        reached.append(report.value("document.activeElement.className || document.activeElement.type"))
    assert reached == ["range", "left", "right", "view", "out", "in", "reset"]


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("<script>console.warn('a warning')</script>", "a warning"),
        ("<script>undefinedFunction()</script>", "undefinedFunction is not defined"),
        ("<img src='http://example.org/x.png'>", "http://example.org/x.png"),
    ],
)
def test_complaints_are_seen(script: str, complaint: str, chromium: Browser, tmp_path: Path):
    """The check of the first test would notice each kind."""
    (tmp_path / "page.html").write_text(f"<!doctype html><title>x</title>{script}")
    page = chromium.new_page()
    opened = Report(page)
    opened.open(tmp_path / "page.html")
    assert any(complaint in text for text in opened.complaints), opened.complaints
    page.close()
