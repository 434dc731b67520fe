"""What makes a job run again: content, settings and code alone. Dry runs in a copy of the finished study."""

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.fixtures.clone import ROOT
from tests.fixtures.snakemake import jobs, snakemake_apart

IGNORED = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".pytest_cache", "logs", "log", "locks", "incomplete")


@pytest.fixture
def copy(results: Path, tmp_path: Path) -> Path:
    root = tmp_path / "copy"
    shutil.copytree(ROOT, root, ignore=IGNORED, symlinks=True)
    return root


def snakemake(root: Path, *arguments: str) -> str:
    return snakemake_apart(root, "--cores", "2", *arguments, "--config", "study=smoke")


def planned(root: Path) -> dict[str, int]:
    counts = jobs(snakemake(root, "--dry-run"))
    return {rule: count for rule, count in counts.items() if rule not in ("all", "total")}


def test_again_does_nothing_and_says_so(copy: Path) -> None:
    assert "Nothing to be done" in snakemake(copy)


def test_touching_every_file_does_nothing(copy: Path) -> None:
    soon = time.time() + 10
    for part in ("datasets", "weights", "results", "config", "workflow", "framer", "Snakefile"):
        paths = [copy / part, *(copy / part).rglob("*")] if (copy / part).is_dir() else [copy / part]
        for index, path in enumerate(paths):
            os.utime(path, (soon + index, soon + index))
    assert planned(copy) == {}


def test_touching_the_sources_alone_does_nothing(copy: Path) -> None:
    soon = time.time() + 10
    for path in (copy / "datasets").rglob("*"):
        os.utime(path, (soon, soon))
    assert planned(copy) == {}


def test_a_deleted_score_is_made_again_alone(copy: Path) -> None:
    (copy / "results/smoke/scores/pisa_sr-framer-s0/photos-crop128/osediff.csv").unlink()
    assert planned(copy) == {"score": 1, "figures": 1, "tables": 1, "report": 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tables/main.tex", {"tables": 1, "report": 1}),
        ("report.html", {"report": 1}),
        (
            "runs/dit4sr-untrained-s0/card.json",
            {"train": 1, "restore": 1, "score": 1, "figures": 1, "tables": 1, "report": 1},
        ),
        ("images/bicubic/photos-crop128/card.json", {"bicubic": 1, "score": 1, "figures": 1, "tables": 1, "report": 1}),
        (
            "runs/dit4sr-untrained-s0/model.safetensors",
            {"train": 1, "restore": 1, "score": 1, "figures": 1, "tables": 1, "report": 1},
        ),
    ],
)
def test_any_deleted_result_is_made_again(copy: Path, name: str, expected: dict[str, int]) -> None:
    (copy / "results/smoke" / name).unlink()
    assert planned(copy) == expected


def edit(root: Path, name: str, change) -> None:
    path = root / name
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def test_scoring_code_scores_again_and_trains_nothing(copy: Path) -> None:
    edit(copy, "framer/scoring/folders.py", lambda text: text + "\nADDED = 1\n")
    assert planned(copy) == {"score": 7, "figures": 1, "tables": 1, "report": 1}


def test_a_comment_does_nothing(copy: Path) -> None:
    for path in (copy / "framer").rglob("*.py"):
        path.write_text(f"# a comment\n{path.read_text()}\n# and another\n")
    for path in [*(copy / "datasets").glob("*.yaml"), *(copy / "config").glob("*.yaml")]:
        path.write_text(f"# a comment\n{path.read_text()}")
    assert planned(copy) == {}


def test_a_manifest_with_another_seed_makes_another_set(copy: Path) -> None:
    edit(copy, "datasets/photos-crop128.yaml", lambda text: text.replace("seed: 0", "seed: 1"))
    counts = planned(copy)
    assert counts["degrade"] == 1
    assert "fetch" not in counts


def test_a_setting_reaches_what_it_concerns(copy: Path) -> None:
    edit(copy, "config/smoke.yaml", lambda text: text.replace("restore: {steps: 4,", "restore: {steps: 5,"))
    counts = planned(copy)
    assert counts["restore"] == counts["score"] == 4, "the rows of DiT4SR"
    assert not {"train", "pretrain", "fetch", "degrade"} & set(counts)


def test_a_label_renders_again_and_nothing_else(copy: Path) -> None:
    edit(copy, "config/smoke.yaml", lambda text: text.replace("label: Bicubic", "label: Cubic"))
    assert planned(copy) == {"tables": 1, "figures": 1, "report": 1}


def test_a_changed_image_reaches_everything_that_depends_on_it(copy: Path) -> None:
    card = copy / "datasets/photos-crop128/card.json"
    edit(copy, str(card.relative_to(copy)), lambda text: re.sub(r'"index.csv": "..', '"index.csv": "00', text))
    counts = planned(copy)
    assert counts["score"] == 7
    assert counts["bicubic"] == 1
