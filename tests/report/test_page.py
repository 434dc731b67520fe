import base64
import csv
import hashlib
import html
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.data.images import read_rgb
from framer.errors import UserError
from framer.report import gallery
from framer.report.page import render
from framer.study.study import Study

VOID = {"meta", "input", "img", "br", "link"}


class Page(HTMLParser):
    """Every element with its attributes; checks that tags nest."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page(with_images: Study) -> str:
    render(with_images, Path("report.html"), missing={"pairs-b": "pairs-b is by hand"})
    return Path("report.html").read_text()


def test_nothing_is_outside_the_file(page: str):
    parsed = Page(page)
    assert parsed.all("script") == [{}]
    assert not parsed.all("link")
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "poster", "data", "data-low", "data-high"):
            value = attributes.get(name)
            relative = tag == "a" and value and ":" not in value
            assert value is None or relative or value.startswith(("data:image/", "#"))
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r"https?://", page)


def test_only_its_own_script_may_run(page: str):
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [meta["content"] for meta in Page(page).all("meta") if "http-equiv" in meta]
    assert f"script-src 'sha256-{allowed}'" in str(policy)
    assert "innerHTML" not in script


def test_links_lead_somewhere(page: str):
    parsed = Page(page)
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(link["href"]) for link in parsed.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert all(Path(link).is_file() for link in links if not link.startswith("#"))


def test_images_that_do_not_fit_are_linked(with_images: Study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "MAX_STRIPS", 1)
    render(with_images, with_images.out / "report.html")
    text = (with_images.out / "report.html").read_text()
    links = [str(link["href"]) for link in Page(text).all("a") if not str(link["href"]).startswith("#")]
    assert len(links) == 2 + len(with_images.config.arms)
    assert all((with_images.out / link).is_file() for link in links)


def test_text_is_escaped(page: str):
    assert "Base &amp; &lt;b&gt;line&lt;/b&gt;" in page
    assert "&lt;script&gt;" in page
    assert not Page(page).all("b")


def test_table(page: str):
    about = "psnr@y-bt601-limited,c0\n8 images, seeds 0, 1\n95% over new images"
    assert re.search(rf'<th scope="row">FRAMER_U</th><td class="next" title="{about}[^>]*\ncell [0-9a-f]{{12}}', page)
    assert re.search(r'<th scope="row">Blank</th><td title[^>]*>40.00</td>', page)
    notes = re.findall(r"<li>(.*)\.</li>", page[page.index('id="notes"') :])
    main = page[page.index('id="results"') : page.index('id="notes"')]
    assert "<li>" not in main, "each footnote once, below all tables"
    for text, count in (("LPIPS needs weights_x", 4), ("pairs-b is by hand", 4 * 3)):
        number = notes.index(text) + 1
        assert main.count(f'<td class="none" title="{text}">n/a<sup>{number}</sup></td>') == count


def test_tables_as_text(page: str):
    texts = dict(re.findall(r'<template data-kind="(LaTeX|CSV)">(.*?)</template>', page, re.DOTALL))
    rows = list(csv.reader(html.unescape(texts["CSV"]).splitlines()))
    assert rows[0] == ["Group", "Method", "PSNR ↑", "SSIM ↑", "LPIPS ↓", "Notes"]
    assert ["Pairs pairs-a (pairs-a, 8 images)", "FRAMER_U", "28.25", "0.5000", "n/a", "LPIPS needs weights_x"] in rows
    assert html.unescape(texts["LaTeX"]).count(r"\begin{tabular}") == 1


def decode(uri: str | None) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(str(uri).partition("base64,")[2]))).convert("RGB"))


def test_gallery_shows_the_same_place_of_all(page: str, with_images: Study):
    shown = [image for image in Page(page).all("img") if str(image.get("alt", "")).startswith("im_")]
    tiles = {str(image["alt"]): decode(image["src"]) for image in shown}
    assert len(tiles) == 2 * (2 + len(with_images.config.arms))
    lr, hr, ours = (tiles[f"im_1: {label}"] for label in ("LR", "HR", "FRAMER_U"))
    side = gallery.SIDE
    assert (lr.shape, hr.shape) == ((side // 4, side // 4, 3), (side, side, 3))
    assert np.array_equal(lr, read_rgb(Path("datasets/pairs-a/LR/im_1.png"))[4:36, 2:34])
    assert np.array_equal(hr, read_rgb(Path("datasets/pairs-a/HR/im_1.png"))[16:144, 8:136])
    first_seed = with_images.out / "images" / "pisa_sr-framer-s0" / "pairs-a" / "im_1.png"
    assert np.array_equal(ours, read_rgb(first_seed)[16:144, 8:136])
    assert "PSNR 30.25" in page, "28.248 + 2 of the first seed"


def test_bands_of_a_difference():
    """A slow wave is low, a fast one high, and both parts together are the whole."""
    x = np.arange(128)
    reference = np.full((128, 128, 3), 128, dtype=np.uint8)
    for period, low_has_it in ((32, True), (4, False)):
        wave = 20 * np.sin(2 * np.pi * x / period)
        image = np.clip(reference + wave[None, :, None], 0, 255).round().astype(np.uint8)
        low, high = gallery.bands(image, reference)
        assert (low.std() > 15, high.std() > 15) == (low_has_it, not low_has_it)
        whole = gallery.GAIN * (image.astype(float) - reference)
        assert np.abs((low.astype(float) - 128) + (high.astype(float) - 128) - whole).max() <= 1


def test_verdicts_come_first_and_extremes_are_named(page: str):
    assert page.index('id="verdicts"') < page.index('id="results"') < page.index('id="images"')
    assert "FRAMER_U against Base &amp; &lt;b&gt;line&lt;/b&gt;, PSNR ↑: best" in " ".join(page.split())


def test_each_strip_starts_with_baseline_and_framer(page: str):
    chosen = re.findall(r'<option value="\d+" selected>([^<]*)<', page)
    assert chosen == ["Base &amp; &lt;b&gt;line&lt;/b&gt;", "FRAMER_U"] * 2


def test_facts(page: str):
    for name in ("Commit", "Lock (sha256)", "Settings", "Hardware", "GPU-hours"):
        assert f"<dt>{name}</dt>" in page
    assert "<dt>Hardware</dt><dd>Some GPU &lt;8&gt;</dd>" in page
    assert "<dt>GPU-hours</dt><dd>48.00, in 6.00 hours of training, all starts</dd>" in page, "four runs"


def test_run_cards_have_their_measurement_beside_them(page: str):
    names = re.findall(r"<summary>(runs/pisa_sr-framer-s1/\S+) <code>", page)
    assert names == ["runs/pisa_sr-framer-s1/card.json", "runs/pisa_sr-framer-s1/run.json"]
    assert "&#34;gpu_hours&#34;: 12.0" in page


def test_a_damaged_measurement_is_said(with_images: Study):
    (with_images.out / "runs/pisa_sr-framer-s1/run.json").write_text("{")
    with pytest.raises(UserError, match=r"runs/pisa_sr-framer-s1/run\.json: no JSON; delete it"):
        render(with_images, Path("report.html"))


def test_space_is_bounded(with_images: Study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "MAX_BYTES", 500_000)
    render(with_images, Path("report.html"))
    text = Path("report.html").read_text()
    assert "1 of 2 images" in text
    assert len(text) < 500_000 * 4 / 3 + 100_000


def test_provenance(page: str):
    for name in ("runs/pisa_sr-framer-s1/card.json", "images/bicubic/pairs-a/card.json", "config/two.yaml"):
        assert name.rpartition("/")[2] in page
        assert name.removeprefix("config/") in page
    assert str(Path.cwd()) not in page


def test_scores_alone_are_enough(study: Study):
    render(study, Path("report.html"))
    parsed = Page(Path("report.html").read_text())
    assert not parsed.all("img")
    assert len(parsed.all("table")) == 2, "the main table and the claims"


def test_bytes_repeat(with_images: Study, page: str):
    render(with_images, Path("again.html"), missing={"pairs-b": "pairs-b is by hand"})
    assert Path("again.html").read_text() == page
