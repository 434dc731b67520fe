"""The paper study in small, run to its end: every rule, a search, and what is brought by hand brought later."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from framer.data.images import list_images
from tests.fixtures.captioner import save_captioner
from tests.fixtures.photographs import waves, write_pair
from tests.fixtures.snakemake import jobs, snakemake_apart
from tests.hub.hub_server import Hub

SET = "photos-crop128"
OUT = Path("results/micro")
TUNED = "pisa_sr-framer_paper"
BY = "pairs-to-tune-by"
MANIFEST = """
id: {id}
title: Pairs to tune by
license: none
paired: true
scale: 4
count: 2
sources: [{{kind: manual, folders: [LR, HR], where: [here], note: none}}]
"""


def framer(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "framer", *arguments], cwd=root, check=True)


def snakemake(root: Path, **environment: str) -> tuple[dict[str, int], str]:
    """Run the study; the jobs by rule, and all that was printed."""
    printed = snakemake_apart(root, "--cores", "all", "--config", "study=micro", **environment)
    return jobs(printed), printed


def scores(root: Path, row: str) -> dict[tuple[str, str], str]:
    with (root / OUT / "scores" / row / SET / "framer.csv").open() as file:
        return {(line["image"], line["metric"]): line["value"] for line in csv.DictReader(file)}


@pytest.fixture
def hub(clone: Path, tmp_path: Path) -> Hub:
    """A captioner on a hub of this machine, and a study that asks for it and tunes an arm at one seed of two."""
    save_captioner(tmp_path / "captioner")
    (clone / f"datasets/{BY}.yaml").write_text(MANIFEST.format(id=BY))
    for seed in (1, 2):
        write_pair(clone / "datasets" / BY, f"{seed}", waves(seed, 128, 128))
    path = clone / "config/micro.yaml"
    study = yaml.safe_load(path.read_text())
    study["backbones"]["dit4sr"]["captions"] = {"model": "lab/captioner"}
    study |= {"seeds": [0, 1], "tune": {"weight": [0.5, 1], "by": BY, "arms": [TUNED]}}
    for arm in [*study["arms"].values(), *study["ablations"].values()]:
        if "recipes" in arm or ("backbone" in arm and "checkpoint" not in arm):
            arm["seeds"] = [0]
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return Hub("lab/captioner", {file.name: file.read_bytes() for file in (tmp_path / "captioner").iterdir()})


def test_every_rule(clone: Path, hub: Hub) -> None:
    with hub.serve():
        first, said = snakemake(clone, HF_ENDPOINT=hub.url)
    assert (
        "n/a in the tables: images of SwinIR" in said
        and "n/a in the tables: pisa_sr: download weights/pisa_sr/pisa_sr.pkl manually" in said
    )

    # One weight is the arm's own, so that the search trains one run more; the second seed is trained with its choice.
    assert first["tune"] == 1 and first["train"] == 3 + 3 + 4 + 2 + 2
    choice, runs = json.loads((clone / OUT / f"tuning/{TUNED}-tuned-s0.json").read_text()), clone / OUT / "runs"
    of = TUNED if choice["weight"] == 1 else f"{TUNED}-weight_0_5"
    weights = {run: (runs / run / "model.safetensors").read_bytes() for run in (f"{of}-s0", f"{TUNED}-tuned-s0")}
    assert len({*weights.values()}) == 1
    trained = json.loads((runs / f"{TUNED}-tuned-s1/card.json").read_text())["job"]
    assert trained["recipe"]["weight"] == choice["weight"]

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
    # No metric of this study has weights. Other methods and the rehearsal have tests of their own.
    others = {"metric_weights", "feed_forward", "method", "fetch_method", "build_method", "rehearse", "rehearsal"}
    assert rules - first.keys() - second.keys() == others

    ablation = (clone / OUT / "tables/ablation.md").read_text()
    main = (clone / OUT / "tables/main.md").read_text()
    assert all(f"| {recipe} " in ablation for recipe in ("l2", "swapped", "no_faw_no_fam", "quantile_masks", "no_faw"))
    assert "PiSA-SR (published weights)" in main and "tuned" in main and "no_faw" not in main
