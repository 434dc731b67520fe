"""Every published number against the line of text that it was taken from, read here once more by other means."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from framer.errors import UserError
from framer.report.paper_numbers import COLUMNS, Ledger
from framer.scoring.protocols import Protocol
from tests.fixtures.clone import ROOT

PUBLISHED = ROOT / "results" / "published"
SOURCES = Path(__file__).parent / "sources"
NINE = ["psnr", "ssim", "lpips", "dists", "fid", "niqe", "clipiqa", "musiq", "maniqa"]
OSEDIFF = ["psnr", "ssim", "lpips", "dists", "fid", "niqe", "musiq", "maniqa", "clipiqa"]
SET = {
    "RealSR": "realsr-crop128",
    "DrealSR": "drealsr-crop128",
    "DRealSR": "drealsr-crop128",
    "DIV2K": "div2k-val-crop128",
    "RealLR200": "reallr200-full",
    "RealLQ250": "reallq250",
}
Key = tuple[str, str, str, float]
"""Dataset, metric, method, value."""


def rows(name: str) -> list[dict[str, str]]:
    with (PUBLISHED / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def keys(name: str, **only: str) -> Counter[Key]:
    chosen = [row for row in rows(name) if all(row[key] == value for key, value in only.items())]
    return Counter((row["dataset"], row["metric"], row["method"], float(row["value"])) for row in chosen)


def source(name: str) -> list[str]:
    return (SOURCES / f"{name}.txt").read_text().splitlines()


def test_framer():
    """Its Table 1 as two reading notes tell it: 30 cells in agreement, two told differently, each with both values."""
    expected: Counter[Key] = Counter()
    conflicts: Counter[Key] = Counter()
    gains: Counter[Key] = Counter()
    for line in source("framer")[2:]:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        where = (SET[cells[0]], cells[1].lower())
        for column, method in ((2, "PiSA-SR"), (3, "FRAMER_U"), (5, "DiT4SR"), (6, "FRAMER_D")):
            found = re.findall(r"\d+\.\d+", cells[column])
            for number in found:
                (conflicts if len(found) > 1 else expected)[*where, method, float(number)] += 1
        for column, method in ((4, "FRAMER_U"), (7, "FRAMER_D")):
            if number := re.search(r"([+−])(\d+\.\d)%", cells[column]):
                gains[*where, method, float(number[2]) * (-1 if number[1] == "−" else 1)] += 1
    assert keys("framer", status="second-hand") == expected
    assert keys("framer", status="conflict") == conflicts
    assert (expected.total(), conflicts.total()) == (30, 4)
    assert keys("framer_gains", status="second-hand") == gains
    ambiguous = {(name, "maniqa", "FRAMER_U", 9.6): 1 for name in ("reallr200-full", "reallq250")}
    assert keys("framer_gains", status="conflict") == ambiguous


def test_gains_are_those_of_their_pairs():
    """What the table prints as a gain follows from its two scores, to the rounding of the scores."""
    scores = {
        (row["dataset"], row["metric"], row["method"], row["status"], row["source"]): row for row in rows("framer")
    }
    checked = 0
    for gain in rows("framer_gains"):
        base = {"FRAMER_U": "PiSA-SR", "FRAMER_D": "DiT4SR"}[gain["method"]]
        for (dataset, metric, method, *rest), ours in scores.items():
            partner = scores.get((dataset, metric, base, *rest))
            if (dataset, metric, method) == (gain["dataset"], gain["metric"], gain["method"]) and partner:
                half = 0.5 * 10.0 ** -len(ours["value"].partition(".")[2])
                a, b = float(ours["value"]), float(partner["value"])
                low, high = (100 * ((a + s * half) / (b - s * half) - 1) for s in (-1, 1))
                assert low - 0.05 <= float(gain["value"]) <= high + 0.05
                checked += 1
    assert checked == 17


def test_freqortho():
    expected: Counter[Key] = Counter()
    for line in source("freqortho_sr")[1:]:
        name, method, *values = line.split()
        expected.update((SET[name], m, method, float(v)) for m, v in zip(NINE, values, strict=True))
    assert keys("freqortho_sr") == expected


def test_osediff():
    text = "\n".join(source("osediff"))
    expected: Counter[Key] = Counter()
    name = ""
    for line in text.splitlines()[1:19]:
        first, *rest = line.split()
        name, label, values = (SET[first], rest[0], rest[1:]) if first in SET else (name, first, rest)
        method = re.sub(r"-\d+$", "", label)
        expected.update((name, m, method, float(v)) for m, v in zip(OSEDIFF, values, strict=True))
    gans = text[text.index("GAN rows") : text.index("(b)")]
    for match in re.finditer(r"(RealSR|DRealSR:|DIV2K:)? ?(\S+) ((?:[\d.]+/){8}[\d.]*\d)", gans):
        name = SET[match[1].rstrip(":")] if match[1] else name
        expected.update((name, m, match[2], float(v)) for m, v in zip(OSEDIFF, match[3].split("/"), strict=True))
    assert keys("osediff", table="1") + keys("osediff", table="7") == expected
    log = text[text.index("(b)") :]
    for name, numbers in zip(("RealSR", "DRealSR"), log.split(";"), strict=True):
        numbers = numbers.partition(name)[2].partition(". Files")[0]
        found = keys("osediff", table="log", dataset=SET[name])
        assert sorted(v for *_, v in found) == sorted(map(float, re.findall(r"\d*\.\d+", numbers)))


def test_dit4sr():
    lines = source("dit4sr")
    methods = re.search(r"columns: (.*)\)", lines[0])[1].split(", ")  # type: ignore[index]
    expected: Counter[Key] = Counter()
    name = ""
    for line in lines[1:-2]:
        parts = line.replace("Supp PSNR/SSIM", "").split()
        if parts[0] in SET:
            name = SET[parts.pop(0)]
        metric, *values = parts
        expected.update((name, metric.lower(), m, float(v)) for m, v in zip(methods, values, strict=True))
    found = keys("dit4sr", table="1") + keys("dit4sr", table="supplement")
    assert found == expected
    numbers = [float(v) for v in re.findall(r"\d*\.\d{3}", " ".join(lines[-2:]))]
    assert sorted(v for *_, v in keys("dit4sr", table="ablation")) == sorted(numbers)


def test_tadsr():
    expected: Counter[Key] = Counter()
    six = ["psnr", "ssim", "lpips", "clipiqa", "musiq", "maniqa"]
    for match in re.finditer(r"(\S+) RealSR ([\d. ]+); DRealSR ([\d. ]+)\.", " ".join(source("tadsr")[1:])):
        for name, values in (("RealSR", match[2]), ("DRealSR", match[3])):
            expected.update((SET[name], m, match[1], float(v)) for m, v in zip(six, values.split(), strict=True))
    assert keys("tadsr") == expected


def test_costs():
    text = " ".join(source("costs"))
    assert "3% more memory" in text
    assert "7% more time" in text
    figure = {row["metric"]: float(row["value"]) for row in rows("costs") if row["method"] == "FRAMER_D"}
    assert figure == {"train_memory_gib": 3, "train_seconds_per_step": 7, "restore_seconds_per_image": 0}
    seconds = {m[1]: (float(m[2]), m[3]) for m in re.finditer(r"([\w-]+) (\d+\.\d+)(?: s)?/(\d+)", text)}
    table = {
        r["method"]: (float(r["value"]), r["protocol"].split()[0]) for r in rows("costs") if r["paper"] == "dit4sr"
    }
    assert table == seconds


def test_every_file_has_the_columns_and_is_tested_here():
    names = {path.stem for path in PUBLISHED.glob("*.csv")}
    assert names == {path.stem for path in SOURCES.glob("*.txt")} | {"framer_gains"}
    assert all(tuple(rows(name)[0]) == COLUMNS for name in names)
    for name in names - {"costs"}:
        assert {row["protocol"] for row in rows(name)} <= {"osediff", "framer", "unknown"}


def test_a_cell_takes_the_number_of_its_own_definition():
    ledger = Ledger.read(PUBLISHED)
    ours, theirs = Protocol.named("framer"), Protocol.named("osediff")
    [psnr, psnr_y] = [protocol.select(["psnr"])[0] for protocol in (ours, theirs)]
    assert [p.value for p in ledger.score("PiSA-SR", "realsr-crop128", psnr)] == ["24.02"]
    assert [p.value for p in ledger.score("PiSA-SR", "realsr-crop128", psnr_y)] == ["25.50"]
    maniqa = ours.select(["maniqa"])[0]
    assert [p.value for p in ledger.score("PiSA-SR", "drealsr-crop128", maniqa)] == ["0.490", "0.402"], "a conflict"
    osediff = ledger.score("OSEDiff", "realsr-crop128", psnr_y)
    assert [p.paper for p in osediff] == ["osediff", "dit4sr"], "its own log first; another paper measured otherwise"
    assert [p.value for p in osediff] == ["25.1511", "25.148"]
    swinir = ledger.score("SwinIR", "realsr-crop128", psnr_y)
    assert len(swinir) == 1
    lpips = ours.select(["lpips"])[0]
    assert [p.paper for p in ledger.score("DiT4SR", "realsr-crop128", lpips)] == ["dit4sr"], (
        "not FRAMER's unknown LPIPS"
    )
    assert ledger.score("FRAMER_U", "realsr-crop128", psnr_y) == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        *(
            (f"p,1,d,m,framer,x,{value},s,quoted", f"line 2: value '{value}' is not a finite number")
            for value in ("much", "nan", "inf", "1e400")
        ),
        (f"p,1,d,m,framer,x,1.0,{'s' * 200_000},quoted", "not a CSV in UTF-8"),
        ("p,1,d,m,framer,x,1.0,s,rumour", "line 2: status 'rumour' is not one of"),
        ("p,1,d,m,framer,x,1.0,s", "line 2: not as many fields"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: str, message: str):
    (tmp_path / "some.csv").write_text(",".join(COLUMNS) + "\n" + row + "\n")
    with pytest.raises(UserError, match=message):
        Ledger.read(tmp_path)


def test_no_folder_is_an_empty_ledger(tmp_path: Path):
    assert Ledger.read(tmp_path / "none") == Ledger()
