"""Analyses and costs in the graph: planned where the study says so, and not made again for nothing."""

from pathlib import Path

import yaml

from tests.fixtures.snakemake import jobs, snakemake

ARMS = """
  dit4sr-paper: {label: Paper, backbone: dit4sr, recipe: paper}
  dit4sr-no_fam: {label: Without FAM, backbone: dit4sr, recipe: no_fam}
"""


def ask(root: Path, **analysis) -> None:
    """A study `mine`: the smoke study with two more arms and an analysis."""
    config = yaml.safe_load((root / "config/smoke.yaml").read_text())
    config["arms"] |= yaml.safe_load(ARMS)
    config["analysis"] = {"set": "photos-crop128", "images": 4, **analysis}
    (root / "config/mine.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def dry(root: Path, *arguments: str):
    return snakemake(root, "-n", "--cores", "2", "--config", "study=mine", *arguments)


def test_a_job_a_backbone_and_no_cost_in_passing(clone: Path) -> None:
    ask(clone)
    done = dry(clone)
    assert done.returncode == 0, done.stdout
    counts = jobs(done.stdout)
    assert counts["analyse"] == 2
    assert "cost" not in counts
    assert counts["figures"] == 1
    assert "results/mine/figures/dit4sr-layers.svg" in done.stdout
    assert "dit4sr-weights" not in done.stdout, "without snapshots"


def test_snapshots_add_figures_and_change_the_runs_that_keep_them(clone: Path) -> None:
    ask(clone)
    digests = planned_runs(dry(clone, "-p").stdout)
    ask(clone, snapshots=[10, 20])
    done = dry(clone, "-p")
    changed = {run for run, digest in planned_runs(done.stdout).items() if digests[run] != digest}
    assert changed == {"dit4sr-paper-s0", "dit4sr-no_fam-s0"}
    for name in ("dit4sr-weights", "dit4sr-early"):
        assert f"results/mine/figures/{name}.svg" in done.stdout
    assert "pisa_sr-weights" not in done.stdout


def planned_runs(output: str) -> dict[str, str]:
    words = [line.split() for line in output.splitlines() if "framer train" in line]
    return {line[line.index("--run") + 1]: line[line.index("--expect") + 1] for line in words}


def test_cost_is_measured_once_whatever_is_trained_anew(clone: Path) -> None:
    ask(clone, cost={"steps": 3, "batch": 2, "crop": 64})
    assert jobs(dry(clone).stdout)["cost"] == 1
    table = clone / "results/mine/analysis/cost.csv"
    done = dry(clone, "-p", str(table.relative_to(clone)))
    command = next(line for line in done.stdout.splitlines() if "framer analyse" in line)
    assert "--cost --out results/mine/analysis/cost.csv --expect" in command
    table.parent.mkdir(parents=True)
    table.write_text("arm,quantity,value,device\n")
    for run in planned_runs(dry(clone, "-p").stdout):
        card = clone / f"results/mine/runs/{run}/card.json"
        card.parent.mkdir(parents=True)
        card.touch()
    counts = jobs(dry(clone, "--forcerun", "train").stdout)
    assert counts["train"] >= 5
    assert counts["analyse"] == 2
    assert "cost" not in counts, "runs that are trained anew do not measure again"
