"""What a user waits for without a GPU: the start, the plan of the paper study, and its tables from the scores alone.

The study is the paper's own, with all manual downloads in place; its scores are random numbers in files as
`framer score` writes them, for as many images as the sets have. The best of three of each, by the clock.

    python bench/bench_commands.py
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from framer.provenance.cards import write_card
from framer.provenance.hashing import digest
from framer.scoring.protocols import Protocol
from framer.scoring.score_file import write_scores
from framer.study.study import Study
from tests.fixtures.clone import ROOT, copy_workflow

SNAKEMAKE = (sys.executable, "-m", "snakemake", "-n", "--cores", "all", "--profile", "slurm")
FRAMER = (sys.executable, "-m", "framer")
TARGETS = {
    "import framer": ((sys.executable, "-c", "import framer"), 0.3),
    "framer --help": ((*FRAMER, "--help"), 0.5),
    "snakemake -n, the paper study": (SNAKEMAKE, 5.0),
    "framer tables, the paper study": ((*FRAMER, "tables", "--study", "config/paper.yaml", "--out", "tables"), 5.0),
}
"""What must be reached, in seconds."""


def workflow(root: Path) -> None:
    """A clone's workflow, with a placeholder file for each manual download."""
    copy_workflow(root)
    shutil.copytree(ROOT / "results/published", root / "results/published")
    study = Study.load(root / "config" / "paper.yaml", root / "datasets")
    folders = [f"datasets/{name}" for name in study.manifests]
    folders += [f"supplied/{arm}/{name}" for arm in study.supplied for name in study.sets_of(arm)]
    for folder in (*folders, "weights/pisa_sr"):
        (root / folder).mkdir(parents=True)
        (root / folder / ("pisa_sr.pkl" if folder.endswith("pisa_sr") else "images.zip")).touch()


def scored(root: Path) -> int:
    """Cards and scores of all rows, and how many scores."""
    study = Study.load(root / "config" / "paper.yaml", root / "datasets")
    draw, total = random.Random(0), 0
    for row in study.rows.values():
        facts: dict[str, object] = {"checkpoint": "bicubic", "code": "restore", "lock": "lock"}
        if row.run:
            run = root / study.out / "runs" / row.run
            write_card(run, "run", [], job={"lr": 0.1}, data={"photos": "p"}, base="b", code="train", lock="lock")
            facts |= {"checkpoint": digest(json.loads((run / "card.json").read_text())), "seed": row.seed}
        for name in study.sets_of(row.id):
            manifest = study.manifests[name]
            write_card(root / study.out / "images" / row.id / name, "images", [], **facts)
            for protocol in study.config.protocols:
                metrics = Protocol.named(protocol).select(study.config.metrics)
                made = [metric for metric in metrics if manifest.paired or not metric.needs_hr]
                stems = [f"{k:04}" for k in range(manifest.count)]
                scores = [(stem, metric.name, draw.gauss(20, 3)) for stem in stems for metric in made]
                sidecar = {
                    "protocol": protocol,
                    "metrics": {metric.name: metric.id for metric in metrics},
                    "unavailable": {metric.name: "no HR" for metric in metrics if metric not in made},
                    "images": {stem: {} for stem in stems},
                }
                write_scores(root / study.out / "scores" / row.id / name / f"{protocol}.csv", scores, sidecar)
                total += len(scores)
    return total


def main() -> None:
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workflow(root)
        for what, (command, target) in TARGETS.items():
            said = f"; {scored(root)} scores" if "tables" in what else ""
            seconds = []
            for _ in range(3):
                start = time.perf_counter()
                done = subprocess.run(command, cwd=root, capture_output=True, text=True)
                seconds.append(time.perf_counter() - start)
                if done.returncode:
                    sys.exit(f"{what}: {done.stdout}{done.stderr}")
            if "snakemake" in what:
                said = (
                    f"; {next(line for line in done.stdout.splitlines() if line.startswith('total')).split()[1]} jobs"
                )
            print(f"{what}: {min(seconds):.2f} s (target {target} s){said}", flush=True)
            if min(seconds) > target:
                missed.append(what)
    sys.exit(f"Missed: {', '.join(missed)}" if missed else None)


if __name__ == "__main__":
    main()
