"""A report beside an older result folder."""

import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from framer.errors import UserError
from framer.report.page import render
from framer.report.tables import render as render_tables
from framer.study.study import Study
from tests.fixtures.clone import ROOT
from tests.fixtures.finished_study import write_scores


def test_what_changed_is_listed(study: Study):
    render_tables(study, study.out / "tables", missing={"pairs-b": "by hand"})
    older = Path("older")
    shutil.copytree(study.out, older)
    text = (older / "tables/main.csv").read_text()
    assert re.search("^[0-9a-f]{12},bicubic,", text, re.MULTILINE)
    text = re.sub("^[0-9a-f]{12},bicubic,pairs-a,", "0" * 12 + ",bicubic,pairs-a,", text, flags=re.MULTILINE)
    (older / "tables/main.csv").write_text(text.replace(",pisa_sr-blank,", ",pisa_sr-gone,"))
    values = {f"im_{i}.png": {"psnr": 27.5, "ssim": 0.5} for i in range(8)}
    path = study.out / "scores" / "bicubic" / "pairs-a" / "osediff.csv"
    write_scores(path, values, {"lpips": "LPIPS needs weights_x"})
    render(study, Path("report.html"), missing={"pairs-b": "by hand"}, since=older)
    page = unescape(Path("report.html").read_text())
    changes = page[page.index('id="changes"') : page.index('id="verdicts"')]
    assert "1 of 18 cells changed their value, 1 kept it and have another hash." in changes
    assert "6 cells are new, 6 are gone. Added: Blank. Removed: pisa_sr-gone." in changes
    row = (
        r'<th scope="row">Bicubic, PSNR ↑ \(pairs-a, osediff\)</th><td title="27.0">27.00</td>'
        r'<td title="27.5">27.50</td><td>\+0.50</td>'
    )
    assert re.search(row, changes)
    assert re.search(r"Bicubic, SSIM ↑ \(pairs-a, osediff\)</th><td>0.5000</td><td>0{12}</td>", changes)
    assert '<th scope="row">scores/bicubic/pairs-a/osediff.json</th>' in changes


def test_no_older_folder(study: Study):
    with pytest.raises(UserError, match=r"nowhere/tables/main\.csv: --since: not there; name the result folder"):
        render(study, Path("report.html"), since=Path("nowhere"))


def test_the_graph_knows_no_older_folder(study: Study):
    assert "--since" not in (ROOT / "workflow" / "rules" / "report.smk").read_text()
    render(study, Path("report.html"))
    assert 'id="changes"' not in Path("report.html").read_text()
