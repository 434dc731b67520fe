"""What an edit of the package trains again in the paper study: the digest and the fingerprint of every training."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.clone import ROOT

ASK = """
import json
from pathlib import Path
from framer.dag import triggers
from framer.study.study import Study

study = Study.load(Path("config/paper.yaml"))
jobs = {run: study.train_job(run) for run in study.runs}
code = {run: triggers.code("train", job.backbone, framer=job.recipe is not None) for run, job in jobs.items()}
print(json.dumps({run: [job.digest, code[run], str(study.arm(run).recipe)] for run, job in jobs.items()}))
"""


@pytest.fixture
def package(clone: Path) -> Path:
    """A clone of the workflow with a package of its own."""
    shutil.copytree(ROOT / "framer", clone / "framer", ignore=shutil.ignore_patterns("__pycache__"))
    return clone


def trainings(root: Path) -> dict[str, list[str]]:
    """By run: the digest of its job, the fingerprint of its code, and the name of its recipe, or 'None'."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=root,
        env={"PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def edit(root: Path, module: str, change: Callable[[str], str]) -> None:
    path = root / "framer" / module
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def rerun(before: dict[str, list[str]], after: dict[str, list[str]]) -> set[str]:
    return {run for run in before if before[run] != after[run]}


def test_what_an_edit_trains_again(package: Path) -> None:
    plain = trainings(package)
    distilled = {run for run, (*_, recipe) in plain.items() if recipe != "None"}
    assert len(plain) > 100 and 0 < len(distilled) < len(plain)

    # A recipe more: its own arms are new, nothing else changes.
    edit(
        package, "method/recipes.py", lambda text: text.replace('"l2": {', '"mine": {"weight": 0.3},\n        "l2": {')
    )
    more = trainings(package)
    assert rerun(plain, more) == set()
    assert {recipe for *_, recipe in more.values()} - {recipe for *_, recipe in plain.values()} == {"mine"}

    # Another value in a named recipe: the arms that use it.
    edit(
        package,
        "method/recipes.py",
        lambda text: text.replace('"cutoff_0.4": {"cutoff": 0.4}', '"cutoff_0.4": {"cutoff": 0.5}'),
    )
    assert {plain[run][2] for run in rerun(plain, trainings(package))} == {"cutoff_0.4"}
    edit(
        package,
        "method/recipes.py",
        lambda text: text.replace('"cutoff_0.4": {"cutoff": 0.5}', '"cutoff_0.4": {"cutoff": 0.4}'),
    )

    # Messages and descriptions: nothing.
    edit(package, "method/loss.py", lambda text: text.replace('UserError(f"', 'UserError(f"Reworded: '))
    edit(package, "errors.py", lambda text: text.replace("hint} known: ", "hint} there are: "))
    edit(
        package,
        "backbones/dit4sr/settings.py",
        lambda text: text.replace('description="', 'description="Reworded: '),
    )
    assert rerun(plain, trainings(package)) == set()

    # Another setting of one backbone: its runs. An operator of the loss: the runs with a recipe, and no baseline.
    edit(package, "backbones/dit4sr/settings.py", lambda text: text + "\nADDED = 1\n")
    changed = rerun(plain, trainings(package))
    assert changed == {run for run in plain if run.startswith("dit4sr")}
    edit(package, "method/loss.py", lambda text: text.replace("self.recipe.weight * (", "self.recipe.weight + (", 1))
    assert rerun(plain, trainings(package)) == changed | distilled
