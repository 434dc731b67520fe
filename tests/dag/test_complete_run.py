"""What Snakemake plans after a complete run of the paper study, simulated: outputs as empty files, then `--touch`."""

import re
import shutil
from pathlib import Path

import pytest

from framer.provenance.cards import write_card
from framer.weights.manifest import WeightsManifest
from tests.dag.test_snakefile import BY_HAND, OTHERS, drop
from tests.dag.test_triggers import edit
from tests.fixtures.clone import ROOT
from tests.fixtures.snakemake import jobs, snakemake_apart

pytestmark = pytest.mark.slow

RESULTS = ("figures", "tables", "report")
"""Made by whatever the study is; new rows change them."""


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
    listed = snakemake_apart(clone, "--summary")
    names = [line.split("\t")[0] for line in listed.splitlines() if "\tmissing\t" in line]
    assert len(names) > 1000
    for path in (clone / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("{}")
        else:
            path.mkdir(exist_ok=True)
    for name in (Path(name).parent.name for name in names if re.fullmatch("weights/[^/]+/card.json", name)):
        put_weights(clone / "weights", name)
    snakemake_apart(clone, "--touch", "--cores", "all")
    return clone


def plan(root: Path, *config: str) -> dict[str, int]:
    """The jobs of a dry run by rule, without the target."""
    counts = jobs(snakemake_apart(root, "-n", "--cores", "all", *config))
    return {rule: count for rule, count in counts.items() if rule not in ("all", "total")}


def test_what_a_dry_run_plans_after_it(complete: Path) -> None:
    assert plan(complete) == {}

    # The optional part: its own rows, the analysis that shows them, and nothing of the other backbone.
    rivals = plan(complete, "--config", "rivals=true")
    assert rivals["train"] and rivals["analyse"] == rivals["cost"] == 1

    # Another comparison: tables alone.
    path = complete / "config/paper.yaml"
    asked = path.read_text()
    path.write_text(f"{asked}\ncompare: [[pisa_sr-framer_paper, pisa_sr-framer_released]]\n")
    assert set(plan(complete)) == {"tables", "figures", "report"}
    path.write_text(asked)

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
