"""The report in a real browser: slider, zoom, keys, no errors, no network."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from framer.data.images import write_png
from framer.report.figures import render as render_figures
from framer.report.gallery import SIGMA
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

    def style(self, name: str) -> str:
        """A CSS variable of the gallery."""
        return self.value(f"document.querySelector('.gallery').style.getPropertyValue('{name}')")


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


def test_the_gallery_is_used(report: Report):
    page = report.page
    left, top, width, height = report.box(".stage")
    middle = top + height / 2
    report.drag((left + width / 2, middle), (left + 0.25 * width, middle))
    assert float(report.style("--cut").rstrip("%")) == pytest.approx(25, abs=1)
    assert report.value("document.querySelector('.gallery input[type=range]').value") == "25"

    page.locator(".stage").focus()
    for key in ("]", "+", "+", "ArrowLeft"):
        page.keyboard.press(key)
    assert [report.style(name) for name in ("--cut", "--zoom", "--x", "--y")] == ["30%", "4", "10%", "0%"]
    transforms = report.value(
        "[...document.images].filter(i => i.checkVisibility()).map(i => getComputedStyle(i).transform)"
    )
    assert len({text.partition(",")[0] for text in transforms}) == 1, "all pictures are zoomed together"
    assert transforms[0].startswith("matrix(4,")
    report.drag((left + width / 2, middle), (left + width / 2 + 0.2 * width, middle))
    assert float(report.style("--x").rstrip("%")) == pytest.approx(30, abs=1), "zoomed in, dragging moves the picture"
    page.keyboard.press("0")
    assert [report.style(name) for name in ("--zoom", "--x", "--cut")] == ["1", "0%", "30%"]

    images, strips = page.locator("select.image"), page.locator(".strip")
    assert [strip.is_visible() for strip in strips.all()] == [True, False]
    images.focus()
    page.keyboard.press("ArrowDown")
    assert [strip.is_visible() for strip in strips.all()] == [False, True]
    page.locator("select.of").select_option("FRAMER_U")
    assert images.locator("option").all_inner_texts() == ["im_1 30.25", "im_0 26.25"]
    page.locator("select.order").select_option("worst first")
    assert images.input_value() == "im_0"
    assert images.locator("option").all_inner_texts() == ["im_0 26.25", "im_1 30.25"]
    page.locator("input.find").fill("IM_1")
    assert (images.locator("option").count(), images.input_value()) == (1, "im_1")
    page.locator("summary", has_text="Best and worst").click()
    page.get_by_role("link", name="im_0").first.click()
    assert images.input_value() == "im_0"
    assert page.locator(".strip:not([hidden]) .tile[data-label=FRAMER_U]").inner_text().endswith("PSNR ↑ 26.25")
    page.get_by_role("checkbox", name="Bicubic").uncheck()
    assert page.locator(".strip:not([hidden]) .tile[data-label=Bicubic]").is_hidden()

    under = "document.querySelector('.under img').src"
    before = report.value(under)
    page.locator("select.right").select_option("HR")
    assert report.value(under) != before
    assert report.value("[...document.images].every(i => !i.checkVisibility() || i.naturalWidth > 0)")
    assert report.value("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out to the right"
    assert report.complaints == []


def test_spectra_are_those_of_what_is_shown(report: Report):
    page, svg = report.page, report.page.locator(".spectra svg")
    lines = """Object.fromEntries([...document.querySelectorAll('.spectra path:not(.axis)')].map(
        (path) => [path.className.baseVal, path.getAttribute('d')]))"""
    before = report.value(lines)
    assert before.keys() == {"lr", "left", "right", "hr"}
    page.locator("select.right").select_option("Bicubic")
    after = report.value(lines)
    assert {kind for kind in before if before[kind] != after[kind]} == {"right"}
    page.locator("select.image").select_option("im_1")
    other = report.value(lines)
    assert all(other[kind] != after[kind] for kind in after)
    assert svg.get_attribute("aria-label").startswith("im_1, power spectra: LR ")
    labels = svg.locator("text[class]").all_text_contents()
    assert {*labels} == {"LR", "Bicubic", "Base & <b>line</b>", "HR"}
    page.locator("select.right").select_option("HR")
    assert report.value(lines).keys() == {"lr", "left", "right"}, "each picture once"
    assert report.complaints == []


def test_differences_are_blended(with_images: Study, chromium: Browser):
    """What HR and an arm share is black; a wave is seen in its own band, and at the cutoff by about a half in each."""
    x = np.arange(160)
    flat = np.full((160, 160, 3), 128, dtype=np.uint8)
    for folder, period in (("framer", 40), ("baseline", 4), ("blank", 10)):
        wave = (12 * np.sin(2 * np.pi * x / period)).round().astype(np.int64)
        for stem in ("im_0", "im_1"):
            write_png(
                with_images.out / f"images/pisa_sr-{folder}-s0/pairs-a/{stem}.png",
                (flat + wave[:, None]).astype(np.uint8),
            )
            write_png(Path("datasets/pairs-a/HR", f"{stem}.png"), flat)
    render(with_images, Path("report.html"))
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    opened = Report(page)
    opened.open(Path("report.html"))
    seen = {}
    for view in ("difference", "difference low", "difference high"):
        page.locator("select.view").select_option(view)
        for label in ("FRAMER_U", "Base & <b>line</b>", "HR", "Blank"):
            frame = page.locator(f".strip:not([hidden]) .tile[data-label='{label}'] .frame")
            frame.scroll_into_view_if_needed()
            pixels = np.asarray(Image.open(BytesIO(frame.screenshot())).convert("L"), dtype=float)
            side = len(pixels) // 4
            seen[view, label] = pixels[side:-side, side:-side].mean()
    slow, fast, hr, cutoff = (
        [seen[view, label] for view, _ in [*seen][::4]] for label in ("FRAMER_U", "Base & <b>line</b>", "HR", "Blank")
    )
    assert max(hr) < 2, "of images smaller than a crop may be"
    assert slow[0] > 15 and slow[1] > 15 and slow[2] < 6
    assert fast[0] > 15 and fast[1] < 6 and fast[2] > 15
    # A browser's blur is near a Gaussian: what it is asked for is exact.
    assert cutoff[1] / cutoff[0] == pytest.approx(0.5, abs=0.2) == cutoff[2] / cutoff[0]
    blur = page.locator("feGaussianBlur").first.get_attribute("stdDeviation")
    assert float(blur or 0) == pytest.approx(SIGMA / 160, rel=1e-3)
    assert opened.complaints == []
    page.close()


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
    report.page.locator("input.find").focus()
    reached = []
    for _ in range(4 + 6 + 9):
        report.page.keyboard.press("Tab")
        reached.append(report.value("document.activeElement.className || document.activeElement.type"))
    chooser, viewer = ["metric", "of", "order", "image"], ["stage", "range", "left", "right", "crop", "view"]
    assert reached == [*chooser, *["checkbox"] * 6, *viewer, "out", "in", "reset"]


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
