"""The paper study in small, run to its end: every rule, every recipe, and what is brought by hand brought later."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from framer.data.images import list_images
from framer.method import Recipe
from tests.fixtures.captioner import save_captioner
from tests.hub.hub_server import Hub

SET = "photos-crop128"
OUT = Path("results/micro")


def framer(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "framer", *arguments], cwd=root, check=True)


def snakemake(root: Path, *arguments: str, **environment: str) -> tuple[dict[str, int], str]:
    """Run the study; the jobs by rule, and all that was said."""
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--config", "study=micro", *arguments]
    done = subprocess.run(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout[-6000:]
    table = re.search(r"Job stats:\n.*\n[- ]+\n((?:\S+ +\d+\n)+)", done.stdout)
    counts = {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())} if table else {}
    return counts, done.stdout


def scores(root: Path, row: str) -> dict[tuple[str, str], str]:
    with (root / OUT / "scores" / row / SET / "framer.csv").open() as file:
        return {(line["image"], line["metric"]): line["value"] for line in csv.DictReader(file)}


@pytest.fixture
def hub(clone: Path, tmp_path: Path) -> Hub:
    """A captioner on a hub of this machine, and a study that asks for it."""
    save_captioner(tmp_path / "captioner")
    path = clone / "config/micro.yaml"
    study = yaml.safe_load(path.read_text())
    study["backbones"]["dit4sr"]["captions"] = {"model": "lab/captioner"}
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return Hub("lab/captioner", {file.name: file.read_bytes() for file in (tmp_path / "captioner").iterdir()})


def test_every_rule_and_every_recipe(clone: Path, hub: Hub) -> None:
    with hub.serve():
        first, said = snakemake(clone, HF_ENDPOINT=hub.url)
    assert (
        "n/a in the tables: images of SwinIR" in said
        and "n/a in the tables: pisa_sr: download weights/pisa_sr/pisa_sr.pkl manually" in said
    )

    # What is brought by hand: a run in the form of the published weights, and the images of another method.
    run = (OUT / "runs/pisa_sr-baseline-s0").as_posix()
    (clone / "weights/pisa_sr").mkdir()
    framer(clone, "convert", run, "--backbone", "pisa_sr", "--to", "official", "--out", "weights/pisa_sr/pisa_sr.pkl")
    supplied = clone / "supplied/swinir" / SET
    supplied.mkdir(parents=True)
    for path in list_images(clone / OUT / "images/bicubic" / SET).values():
        shutil.copy(path, supplied)
    with hub.serve():
        second, said = snakemake(clone, HF_ENDPOINT=hub.url)
        assert "n/a in the tables: " not in said
        expected = {"release": 1, "supplied": 1, "restore": 1, "score": 2}
        assert {rule: second[rule] for rule in expected} == expected and "train" not in second
        assert scores(clone, "pisa_sr-published-s0") == scores(clone, "pisa_sr-baseline-s0")
        assert scores(clone, "swinir") == scores(clone, "bicubic")
        last, _ = snakemake(clone, HF_ENDPOINT=hub.url)
        assert last == {}

    rules = set(
        re.findall(
            r"^(?:rule|checkpoint) (\w+):",
            "".join(path.read_text() for path in (clone / "workflow/rules").glob("*.smk")),
            re.MULTILINE,
        )
    )
    # No metric of this study has weights. Searches, other methods and the rehearsal have tests of their own.
    others = {"tune", "train_tuned"} | {
        "metric_weights",
        "feed_forward",
        "method",
        "fetch_method",
        "build_method",
        "rehearse",
        "rehearsal",
    }
    assert rules - first.keys() - second.keys() == others

    ablation = (clone / OUT / "tables/ablation.md").read_text()
    main = (clone / OUT / "tables/main.md").read_text()
    trained = {recipe for recipe in Recipe.names() if re.search(rf"^\| {re.escape(recipe)} ", ablation, re.MULTILINE)}
    assert trained == set(Recipe.names())
    assert "PiSA-SR (published weights)" in main and "no_faw" not in main
