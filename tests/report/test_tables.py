import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from framer.report.tables import CELL_COLUMNS, render
from framer.study.layout import TABLES
from framer.study.study import Study
from tests.fixtures.finished_study import STUDY, write_scores


def markdown_rows(text: str) -> dict[str, list[str]]:
    """Cells by label, of the last section that has the label."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in split}


def test_markdown(study: Study):
    render(study, Path("tables"))
    text = Path("tables", "main.md").read_text()
    rows = markdown_rows(text)
    assert rows["Method"] == ["PSNR ↑", "SSIM ↑", "LPIPS ↓"]
    assert rows["Bicubic"] == ["24.00", "**0.5000**", "n/a [1]"]
    assert rows["Base & \\<b>line\\</b>"] == ["**25.25**", "**0.5000**", "n/a [1]"]
    assert rows["FRAMER_U"] == ["*25.25*", "**0.5000**", "n/a [1]"]
    assert rows["– gain over Base & \\<b>line\\</b>"] == ["0.0%", "0.0%", ""]
    assert rows["Blank"][0] == "37.00"
    assert text.index("Pairs pairs-a (pairs-a, 8 images)") < text.index("Pairs pairs-b (pairs-b, 8 images)")
    assert "limited-range BT.601" in text
    assert "[1] LPIPS needs weights_x." in text
    assert "2 training seeds" in text


def test_a_terminal_shows_it_all(study: Study):
    """Rows of tables fit into 120 columns."""
    render(study, Path("tables"))
    rows = [line for line in Path("tables", "main.md").read_text().splitlines() if line.startswith("|")]
    assert max(map(len, rows)) <= 120


def test_csv_is_tidy_and_exact(study: Study):
    render(study, Path("tables"), missing={"pairs-b": "by hand"})
    rows = list(csv.DictReader(Path("tables", "main.csv").read_text().splitlines()))
    assert len(rows) == 4 * 2 * 3
    assert tuple(rows[0]) == CELL_COLUMNS
    keyed = {(row["arm"], row["set"], row["metric"]): row for row in rows}
    found = keyed["pisa_sr-framer", "pairs-a", "psnr"]
    assert found["metric_id"] == "psnr@y-bt601-limited,c0"
    assert (found["mean"], found["n_images"], found["n_seeds"], found["mark"]) == ("28.248", "8", "2", "next")
    assert float(found["low"]) < 28.248 < float(found["high"])
    assert float(found["seeds_low"]) == float(found["seeds_high"]) == 28.248
    assert re.fullmatch("[0-9a-f]{12}", found["id"])
    gone = keyed["bicubic", "pairs-b", "psnr"]
    assert (gone["mean"], gone["n_images"], gone["reason"], gone["id"]) == ("", "0", "by hand", "")


def test_latex(study: Study):
    render(study, Path("tables"))
    text = Path("tables", "main.tex").read_text()
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 2 * (2 + 5), "a head; two headings, four rows and a gain a set"
    assert all(row.count("&") - row.count(r"\&") == 3 for row in rows if "multicolumn" not in row)
    assert r"Base \& $<$b$>$line$<$/b$>$ & \textbf{28.25} & \textbf{0.5000} & n/a${}^{1}$ \\" in rows
    assert r"FRAMER\_U & \underline{28.25} & \textbf{0.5000} & n/a${}^{1}$ \\" in rows
    assert r"Blank & 40.00 & 0.5000 & n/a${}^{1}$ \\" in rows
    assert body.count(r"\midrule") == 4, "below the head, above each block of controls, between the sets"
    assert r"50\%" in text
    assert r"weights\_x" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(study: Study):
    render(study, Path("tables"))
    inputs = "\n".join(rf"\input{{tables/{name}.tex}}\clearpage" for name in TABLES)
    text = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}x{inputs}\end{{document}}"
    Path("paper.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout.replace("Overfull \\vbox", "")


def test_one_table_a_protocol(study: Study, tmp_path: Path):
    Path("config", "two.yaml").write_text(STUDY.replace("[osediff]", "[osediff, framer]"))
    both = Study.load(Path("config", "two.yaml"))
    for row in both.rows:
        for set_id in both.config.sets:
            values = {f"im_{i}.png": {"psnr": 20.0, "ssim": 0.4} for i in range(8)}
            write_scores(both.out / "scores" / row / set_id / "framer.csv", values, {"lpips": "none"}, "framer")
    render(both, Path("tables"))
    text = Path("tables", "main.md").read_text()
    first, second = text.index("Protocol osediff: PSNR and SSIM on the Y"), text.index("Protocol framer: PSNR on RGB")
    assert "20.00" not in text[first:second]
    assert "20.00" in text[second:]
    ids = {
        (row["protocol"], row["metric_id"])
        for row in csv.DictReader(Path("tables", "main.csv").read_text().splitlines())
    }
    assert ("framer", "psnr@rgb,c0") in ids
    assert ("osediff", "psnr@rgb,c0") not in ids
    assert Path("tables", "main.tex").read_text().count(r"\begin{table}") == 2


def test_bytes_repeat(study: Study):
    render(study, Path("one"))
    render(study, Path("two"))
    names = sorted(path.name for path in Path("one").iterdir() if not path.name.startswith("."))
    kinds = [f"{name}.{kind}" for name in TABLES for kind in ("md", "tex", "html")]
    assert names == sorted([*kinds, "main.csv", "claims.csv", "tuning.csv"])
    for name in names:
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_no_torch():
    code = "import sys, framer.report.tables, framer.report.page; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
