"""Rows of methods that others restored: the published value stands there, whether somebody supplied images or not."""

import csv
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from framer.report.cells import tables
from framer.report.main_table import main_grid
from framer.report.paper_numbers import Ledger
from framer.report.tables import render
from framer.study.study import Study
from tests.fixtures.clone import ROOT
from tests.fixtures.finished_study import STUDY, write_scores
from tests.report.test_tables import markdown_rows

METHODS = ("SwinIR", "ResShift", "SeeSR", "PiSA-SR", "FRAMER_U", "DreamClear", "DiT4SR", "FRAMER_D")
OTHERS = ("SwinIR", "ResShift", "SeeSR", "DreamClear")
SETS = ("realsr-crop128", "reallr200-full")


@pytest.fixture
def eight(study: Study) -> Study:
    """The eight methods of the paper's Table 1 on two sets; ours are scored, of the others nothing is here."""
    config = yaml.safe_load(STUDY)
    backbone = {k: v for k, v in config["backbones"]["pisa_sr"].items() if k != "pretrain"}
    config |= {"seeds": [0], "sets": list(SETS), "protocols": ["framer", "osediff"], "metrics": ["psnr", "musiq"]}
    config["backbones"] = {
        "pisa_sr": backbone | {"base": "stabilityai/stable-diffusion-2-1-base"},
        "dit4sr": backbone
        | {"base": "stabilityai/stable-diffusion-3.5-medium", "train": {"control": backbone["train"]["pixel"]}},
    }
    ours = {
        "PiSA-SR": {"backbone": "pisa_sr"},
        "FRAMER_U": {"backbone": "pisa_sr", "recipe": "paper"},
        "DiT4SR": {"backbone": "dit4sr"},
        "FRAMER_D": {"backbone": "dit4sr", "recipe": "paper"},
    }
    config["arms"] = {name.lower(): {"label": name} | ours.get(name, {"images": True}) for name in METHODS}
    Path("config", "eight.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name in SETS:
        Path("datasets", f"{name}.yaml").write_text((ROOT / "datasets" / f"{name}.yaml").read_text())
    eight = Study.load(Path("config", "eight.yaml"))
    for row, set_id in eight.pairs:
        if row not in eight.supplied:
            scored(eight, row, set_id)
    return eight


def scored(study: Study, row: str, set_id: str) -> None:
    for protocol in study.config.protocols:
        values = {f"{i}.png": {"psnr": 24.0 + i, "musiq": 70.0 - i} for i in range(6)}
        write_scores(study.out / "scores" / row / set_id / f"{protocol}.csv", values, {}, protocol)


def rows(study: Study, protocol: str, set_id: str) -> dict[str, dict[str, list[str]]]:
    """The printed rows of a section: by method, its own and those below it."""
    ledger = Ledger.read(ROOT / "results" / "published")
    [table] = [table for table in tables(study, {}, ledger=ledger) if table.protocol.name == protocol]
    [group] = [group for group in main_grid(table, "T", []).groups if set_id in group.heading]
    found: dict[str, dict[str, list[str]]] = {}
    for row in group.rows:
        if not row.minor:
            found[row.label] = {"": []}
        found[list(found)[-1]][row.label if row.minor else ""] = [entry.text for entry in row.entries]
    return found


def test_all_eight_are_there_in_the_order_of_the_study(eight: Study):
    for protocol in eight.config.protocols:
        for set_id in SETS:
            assert list(rows(eight, protocol, set_id)) == list(METHODS)


def test_the_published_value_stands_beside_what_is_not_here(eight: Study):
    found = rows(eight, "osediff", "realsr-crop128")
    for method, psnr, musiq in (("SwinIR", "26.308", "58.694"), ("DreamClear", "24.847", "59.396")):
        assert found[method] == {"": ["n/a", "n/a"], "published": [psnr, musiq]}
    assert rows(eight, "framer", "realsr-crop128")["SwinIR"]["published"] == ["", "58.694"], (
        "its PSNR is another metric"
    )
    assert found["DiT4SR"]["published"] == ["23.378", "68.073"]
    assert found["DiT4SR"]["difference"] == ["+3.12", "−0.57"]


def test_the_csvs_say_where_published_numbers_are_from(eight: Study):
    shutil.copytree(ROOT / "results" / "published", Path("results", "published"))
    render(eight, Path("tables"))
    columns = ("published_by", "published_table", "published_source", "published_status")
    kept = {}
    for name, value in (("main", "published"), ("claims", "published_gain_percent")):
        for row in csv.DictReader(Path("tables", f"{name}.csv").read_text().splitlines()):
            assert all(bool(row[column]) == bool(row[value]) for column in columns)
            kept[name, row["arm"], row["set"], row["protocol"], row["metric"]] = [row[column] for column in columns]
    told = ["framer", "1", "reading notes A and B", "second-hand"]
    assert kept["main", "framer_u", "realsr-crop128", "framer", "psnr"] == told
    assert kept["claims", "framer_u", "realsr-crop128", "framer", "psnr"] == told
    assert kept["main", "seesr", "realsr-crop128", "framer", "musiq"][0] == "dit4sr|osediff|tadsr"
    assert kept["main", "seesr", "realsr-crop128", "framer", "musiq"][3] == "quoted|quoted|second-hand"


def test_every_published_number_says_whose_it_is_and_how_it_is_known(eight: Study):
    """The footnote of each row, taken apart, is what the CSVs of published numbers say of its numbers."""
    folder = ROOT / "results" / "published"
    titles = {"framer": "FRAMER", "dit4sr": "DiT4SR", "freqortho-sr": "FreqOrtho-SR", "osediff": "OSEDiff"}
    told = {}
    for path in folder.glob("*.csv"):
        for row in csv.DictReader(path.read_text().splitlines()):
            known = row["status"].replace("conflict", "its sources differ")
            told.setdefault((row["method"], row["dataset"], row["metric"], row["value"]), set()).add(
                (titles.get(row["paper"]), known)
            )
    config = yaml.safe_load(eight.path.read_text()) | {"metrics": ["psnr", "ssim", "niqe", "maniqa", "musiq"]}
    eight.path.write_text(yaml.safe_dump(config, sort_keys=False).replace("realsr-crop128", "drealsr-crop128"))
    Path("datasets", "drealsr-crop128.yaml").write_text((ROOT / "datasets" / "drealsr-crop128.yaml").read_text())
    changed = Study.load(eight.path)
    missing = dict.fromkeys(("drealsr-crop128", "reallr200-full"), "by hand")
    notes = set()
    for table in tables(changed, missing, ledger=Ledger.read(folder)):
        names = [metric.name for metric in table.metrics]
        headings = {metric.title: metric.name for metric in table.metrics}
        for section, group in zip(table.sections, main_grid(table, "T", []).groups, strict=True):
            for above, row in pairwise(group.rows):
                if row.label != "published":
                    continue
                notes.add(str(row.note))
                of_metric = {}
                for part in str(row.note).split("; "):
                    metrics, _, origin = part.rpartition(": ")
                    of_metric |= dict.fromkeys([headings[one] for one in metrics.split(", ") if one] or names, origin)
                for name, entry in zip(names, row.entries, strict=True):
                    for value in entry.text.split(" or ") if entry.text else ():
                        paper, rest = of_metric[name].split("'s ")
                        assert (paper, rest.split(", ")[1]) in told[above.label, section.set, name, value]
    assert "FRAMER's table 1, second-hand" in notes, "one place: no metrics"
    assert "PSNR, SSIM, NIQE: FRAMER's table 1, second-hand; MANIQA: FRAMER's table 1, its sources differ" in notes


def test_two_papers_that_differ_are_both_shown(eight: Study):
    found = rows(eight, "osediff", "realsr-crop128")["SeeSR"]
    assert (found["published"], found["also published"]) == (["25.188", "69.675"], ["25.149", "69.819"])
    [_, table] = tables(eight, {}, ledger=Ledger.read(ROOT / "results" / "published"))
    [seesr] = [line for line in table.sections[0].methods if line.arm == "seesr"]
    assert [[one.value for one in cell.published] for cell in seesr.cells] == [
        ["25.188", "25.18", "25.149"],
        ["69.675", "69.77", "69.819"],
    ]


def test_one_footnote_says_how_to_supply_a_method(eight: Study):
    render(eight, Path("tables"))
    text = Path("tables", "main.md").read_text()
    said = " ".join(text.split())
    folders = " and ".join(f"supplied/swinir/{name}/" for name in SETS)
    assert said.count(f"images of SwinIR: put them, named as the LR images, into {folders}.") == 2, "one a protocol"
    assert markdown_rows(text)["SwinIR"] == ["n/a [1]", "n/a [1]"]
    assert all(f"images of {method}:" in said for method in OTHERS)


def test_what_is_supplied_is_scored_and_marked_as_any_other(eight: Study):
    scored(eight, "swinir", "realsr-crop128")
    found = rows(eight, "osediff", "realsr-crop128")["SwinIR"]
    assert found == {"": ["26.50", "67.50"], "published": ["26.308", "58.694"], "difference": ["+0.19", "+8.81"]}
    assert rows(eight, "osediff", "reallr200-full")["SwinIR"][""] == ["n/a", "n/a"]
    [table, _] = tables(eight, {}, ledger=Ledger())
    lines = {line.arm: line for line in table.sections[0].methods}
    assert lines["swinir"].source == "Supplied images of another method"
    assert lines["swinir"].cells[0].tier == lines["framer_u"].cells[0].tier
    [needed] = {cell.reason for cell in table.sections[1].methods[0].cells}
    assert needed == "images of SwinIR: put them, named as the LR images, into supplied/swinir/reallr200-full/"


def test_published_weights_are_shown_and_compared_with_nothing(eight: Study):
    text = eight.path.read_text().replace(
        "arms:\n", "arms:\n  own: {label: Own weights, backbone: pisa_sr, checkpoint: pisa_sr}\n"
    )
    eight.path.write_text(text)
    study = Study.load(eight.path)
    missing = {"pisa_sr": "PiSA-SR's weights: by hand"}
    [table, _] = tables(study, missing, ledger=Ledger())
    assert {cell.reason for cell in table.sections[0].methods[0].cells} == {"PiSA-SR's weights: by hand"}
    for set_id in SETS:
        scored(study, "own-s0", set_id)
    [table, _] = tables(study, {}, ledger=Ledger.read(ROOT / "results" / "published"))
    own = table.sections[0].methods[0]
    assert own.source == "Published weights, pisa_sr; their training is not ours: shown, compared with nothing"
    assert own.cells[0].published[0].method == "PiSA-SR"
    eight.path.write_text(f"{text}\ncompare: [[own, pisa_sr]]\n")
    [table, _] = tables(Study.load(eight.path), {}, ledger=Ledger())
    assert str(table.sections[0].methods[0].source).endswith("not ours: compared where the study asks for it")
