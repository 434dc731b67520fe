"""What Snakemake plans after a complete run of the paper study, simulated: outputs as empty files, then `--touch`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from framer.provenance.cards import write_card
from framer.weights.manifest import WeightsManifest
from tests.dag.test_snakefile import BY_HAND, OTHERS, drop, planned
from tests.dag.test_triggers import edit
from tests.fixtures.clone import ROOT

pytestmark = pytest.mark.slow

RESULTS = ("figures", "tables", "report")
"""Made by whatever the study is; new rows change them."""


def snakemake(root: Path, *arguments: str) -> CompletedProcess[str]:
    """A process of its own, with the package of the clone."""
    hidden = ("FRAMER_WEIGHTS", "HF_HUB_OFFLINE", "HF_TOKEN", "PYTHONPATH")
    env = {key: value for key, value in os.environ.items() if key not in hidden} | {"PYTHONPATH": "."}
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done


def put_weights(folder: Path, name: str) -> None:
    """What planning reads: the files of a manifest, and a card of them."""
    files = [file.path for file in WeightsManifest.load(name).files]
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("x")
    write_card(folder / name, "weights", [f"../{file}" for file in files], weights=name)


@pytest.fixture
def complete(clone: Path) -> Path:
    """A clone with a package of its own in which all of the paper study is made."""
    shutil.copytree(ROOT / "framer", clone / "framer", ignore=shutil.ignore_patterns("__pycache__"))
    drop(clone, *BY_HAND, *OTHERS, "pisa_sr")
    listed = snakemake(clone, "--summary")
    names = [line.split("\t")[0] for line in listed.stdout.splitlines() if "\tmissing\t" in line]
    assert len(names) > 1000
    for path in (clone / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("{}")
        else:
            path.mkdir(exist_ok=True)
    for name in (Path(name).parent.name for name in names if re.fullmatch("weights/[^/]+/card.json", name)):
        put_weights(clone / "weights", name)
    snakemake(clone, "--touch", "--cores", "all")
    return clone


def plan(root: Path) -> dict[str, int]:
    """The jobs of a dry run by rule, without the target."""
    done = snakemake(root, "-n", "--cores", "all")
    return {} if "Nothing to be done" in done.stdout else {k: v for k, v in planned(done).items() if k != "all"}


def test_what_a_dry_run_plans_after_it(complete: Path) -> None:
    assert plan(complete) == {}

    # Words: nothing.
    edit(complete, "method/loss.py", lambda text: text.replace('UserError(f"', 'UserError(f"Reworded: '))
    edit(complete, "errors.py", lambda text: text.replace("hint} known: ", "hint} there are: "))
    edit(
        complete, "backbones/dit4sr/settings.py", lambda text: text.replace('description="', 'description="Reworded: ')
    )
    assert plan(complete) == {}

    # A recipe more: its own runs, and no other training.
    edit(
        complete, "method/recipes.py", lambda text: text.replace('"l2": {', '"mine": {"weight": 0.3},\n        "l2": {')
    )
    more = plan(complete)
    seeds, protocols = 3, 1
    assert {rule: more[rule] for rule in ("train", "restore", "score")} == {
        "train": seeds,
        "restore": seeds * protocols,
        "score": seeds * protocols,
    }
    assert set(more) <= {"train", "restore", "score", *RESULTS}
