import base64
import csv
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.data.images import read_rgb, write_png
from framer.errors import UserError
from framer.report import crops, gallery
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
        for name in ("src", "href", "srcset", "poster", "data"):
            value = attributes.get(name)
            relative = tag == "a" and value and ":" not in value
            assert value is None or relative or value.startswith(("data:image/", "#"))
    assert "url(" not in page.replace("url(#", "")
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
    monkeypatch.setattr(gallery, "MAX_BYTES", 70_000)
    render(with_images, with_images.out / "report.html")
    text = (with_images.out / "report.html").read_text()
    assert "1 of 2 images, as crops of up to 96 pixels" in text
    links = [str(link["href"]) for link in Page(text).all("a") if not str(link["href"]).startswith("#")]
    assert len(links) == 2 * (2 + len(with_images.config.arms))
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


def test_gallery_shows_the_same_places_of_all(with_images: Study, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gallery, "LEVELS", (crops.Level(96, 2, None),))
    ours, base = (with_images.out / f"images/pisa_sr-{arm}-s0/pairs-a/im_1.png" for arm in ("framer", "baseline"))
    changed = read_rgb(base).copy()
    changed[70:150, 50:60] ^= 255
    write_png(ours, changed)
    render(with_images, Path("report.html"))
    shown = [image for image in Page(Path("report.html").read_text()).all("img") if image["alt"]]
    tiles: dict[str, list[np.ndarray]] = {}
    for image in shown:
        tiles.setdefault(str(image["alt"]), []).append(decode(image["src"]))
    assert len(tiles) == 2 * (2 + len(with_images.config.arms))
    for number, (top, left) in enumerate(((32, 24), (64, 0))):
        for label, path in (("HR", Path("datasets/pairs-a/HR/im_1.png")), ("FRAMER_U", ours)):
            assert np.array_equal(tiles[f"im_1: {label}"][number], read_rgb(path)[top : top + 96, left : left + 96])
        lr = read_rgb(Path("datasets/pairs-a/LR/im_1.png"))[top // 4 : top // 4 + 24, left // 4 : left // 4 + 24]
        assert np.array_equal(tiles["im_1: LR"][number], lr)


def test_scores_of_images_are_of_what_is_shown(page: str):
    [values] = re.findall(r'<template class="values">(.*?)</template>', page)
    psnr, ssim = json.loads(html.unescape(values))
    assert [psnr["name"], ssim["name"], psnr["digits"]] == ["PSNR ↑", "SSIM ↑", 2]
    assert psnr["of"]["FRAMER_U"] == {"im_0": 26.25, "im_1": 30.25}, "28.248 of the first seed, less and more 2"
    assert next(iter(psnr["of"])) == "FRAMER_U − Base & <b>line</b>"


def test_193_images_fit(with_images: Study):
    """Noise is the worst there is: it is stored less well, and no image is left out."""
    folders = [Path("datasets/pairs-a", part) for part in ("LR", "HR")]
    folders += [with_images.out / "images" / row / "pairs-a" for row in with_images.rows]
    for folder in folders:
        for number in range(2, 193):
            (folder / f"im_{number}.png").hardlink_to(folder / f"im_{number % 2}.png")
    render(with_images, Path("report.html"))
    assert Path("report.html").stat().st_size < 10_000_000
    assert "193 of 193 images" in Path("report.html").read_text()


def test_verdicts_come_first_and_extremes_are_named(page: str):
    assert page.index('id="verdicts"') < page.index('id="results"') < page.index('id="images"')
    assert "FRAMER_U against Base &amp; &lt;b&gt;line&lt;/b&gt;, PSNR ↑: best" in " ".join(page.split())


def test_a_gallery_starts_with_baseline_and_framer(page: str):
    chosen = re.findall(r"<option selected>([^<]*)<", page)
    assert chosen == ["Base &amp; &lt;b&gt;line&lt;/b&gt;", "FRAMER_U"]


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
