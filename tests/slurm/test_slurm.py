"""The workflow on a real Slurm: exact requests, and a training that is cancelled, preempted and runs out of time."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from framer.provenance.cards import read_card, verify_payload
from tests.slurm import one_node

HERE = Path(__file__).parent
RUN = Path("results/nodes/runs/pisa_sr-s0")
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "all", "--profile", "slurm", "--config", "study=nodes"]
FAST = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]
MINUTES = 2

REASON = one_node.unavailable()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no Slurm of its own here: {REASON}")


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    if REASON is None:
        one_node.install()


def write_study(root: Path, name: str, steps: int) -> None:
    study = yaml.safe_load((HERE / "study.yaml").read_text())
    study["backbones"]["pisa_sr"]["train"]["pixel"]["steps"] = steps
    (root / f"config/{name}.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


@contextmanager
def snakemake(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Snakemake on the submit host, for a block; ended with it, if it has not ended."""
    with (root / "snakemake.log").open("w") as log:
        process = subprocess.Popen([*COMMAND, *FAST, *arguments], cwd=root, stdout=log, stderr=log, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def jobs() -> list[dict[str, str]]:
    """What Slurm says of each job that it still knows."""
    answer = subprocess.run(["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True).stdout
    return [dict(re.findall(r"([\w/:]+)=(\S*)", line)) for line in answer.splitlines() if "JobId" in line]


def training(state: str = "RUNNING") -> dict[str, str] | None:
    """The job of the train rule that is in a state."""
    found = [job for job in jobs() if job.get("Comment", "").startswith("rule_train") and job["JobState"] == state]
    return found[-1] if found else None


def wait(process: subprocess.Popen[str], ready: Callable[[], object], what: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, f"snakemake ended before {what}"
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.5)


def tres(job: dict[str, str]) -> dict[str, str]:
    """What was allocated, such as {"cpu": "1", "gres/gpu": "2", ...}."""
    return dict(item.split("=") for item in job["TRES"].split(","))


def framer(root: Path, out: str, *more: str) -> subprocess.CompletedProcess[str]:
    """`framer train` by hand."""
    command = [
        "framer",
        "train",
        "--study",
        f"config/{out}.yaml",
        "--run",
        RUN.name,
        "--base",
        "results/nodes/bases/pisa_sr",
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [*command, "--out", f"results/{out}/runs/{RUN.name}", *more],
        cwd=root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )


def test_a_training_survives_whatever_a_cluster_does(clone: Path) -> None:
    root, state = clone, clone / RUN / ".unfinished"
    train = [f"train:{key}={value}" for key, value in (("gpu", 2), ("cpus_per_task", 4), ("runtime", MINUTES))]
    asked = ["--set-resources", *train, "train:slurm_partition=spare", "train:mem_mb=3000"]
    with one_node.cluster(accounting=True):
        # The reference: the first steps of the same training, by nothing interrupted.
        write_study(root, "reference", steps=30)
        write_study(root, "nodes", steps=30)
        with snakemake(root, "--", "results/nodes/bases/pisa_sr/card.json") as process:
            assert process.wait(240) == 0, (root / "snakemake.log").read_text()
        done = framer(root, "reference", "--gpus", "2")
        assert done.returncode == 0, done.stderr
        said = json.loads((root / f"logs/reference/tracking/{RUN.name}/speed-pixel.json").read_text())
        step = said["seconds"] * 32 / 2  # of 32 images in two processes
        # Longer than the limit even if the machine becomes twice as fast: a slice ends before the training, and the
        # first two are cut short.
        write_study(root, "nodes", steps=max(40, round(60 * MINUTES * 2.2 / step)))

        with snakemake(root, *asked, "--", f"{RUN}/card.json") as process:
            wait(process, training, "the training to start")
            first = training()
            assert first and first["Partition"] == "spare" and first["TimeLimit"] == f"00:0{MINUTES}:00"
            got = tres(first)
            assert (got["cpu"], got["gres/gpu"], got["node"]) == ("4", "2", "1")
            assert got["mem"] == "3000M"

            wait(process, lambda: (root / RUN / ".lock").is_file(), "the lock")
            refused = framer(root, "nodes")
            assert refused.returncode == 2
            assert re.search(rf"Slurm job {first['JobId']}, process \d+ on \S+ .* is writing it", refused.stderr)

            wait(process, lambda: "images/s" in log(root), "the first steps")
            subprocess.run(["scancel", first["JobId"]], check=True)
            wait(process, lambda: list(state.glob("*.safetensors")), "a checkpoint of the cancelled training")
            wait(process, training, "another job")
            second = training()
            assert second and second["JobId"] != first["JobId"]

            going = re.compile("resuming from step.*images/s", re.DOTALL)
            wait(process, lambda: going.search(log(root)), "the second job to go on")
            before = steps_done(state)
            everything = f"--cpus-per-task={one_node.CPUS - 2}"
            subprocess.run(["sbatch", "-p", "main", everything, "--mem=1000", "--wrap", "sleep 5"], check=True)
            wait(process, lambda: restarts(second["JobId"]) == 1, "the preempted job to be back")
            wait(process, lambda: steps_done(state) > before, "its checkpoint")
            wait(process, lambda: restarts(second["JobId"]) == 2, "the time limit", 60 * MINUTES + 120)
            assert process.wait(600) == 0, (root / "snakemake.log").read_text()

    assert "resuming from step" in log(root)
    card = read_card(root / RUN, "run")
    verify_payload(root / RUN, card)
    hidden = {".finished", ".run.journal"}
    assert {path.name for path in (root / RUN).iterdir()} == {*card["payload"], "card.json", "run.json", *hidden}
    rows = list(csv.reader((root / RUN / "log.csv").open()))
    reference = list(csv.reader((root / "results/reference/runs" / RUN.name / "log.csv").open()))
    assert rows[: len(reference)] == reference
    assert [int(row[1]) for row in rows[1:]] == list(range(len(rows) - 1))


def log(root: Path) -> str:
    path = root / f"logs/nodes/train/{RUN.name}.log"
    return path.read_text() if path.is_file() else ""


def steps_done(state: Path) -> int:
    return max((int(path.name[:9]) for path in state.glob("*.safetensors")), default=0)


def restarts(job: str) -> int:
    return max((int(found["Restarts"]) for found in jobs() if found["JobId"] == job), default=0)


def test_a_whole_study_without_accounting(clone: Path) -> None:
    write_study(clone, "nodes", steps=2)
    with one_node.cluster(accounting=False), snakemake(clone) as process:
        assert process.wait(600) == 0, (clone / "snakemake.log").read_text()
        asked = {re.sub("_wildcards.*", "", job["Comment"]): tres(job) for job in jobs() if job.get("Comment")}
    assert (clone / "results/nodes/report.html").is_file()
    one = {"cpu": "1", "node": "1", "billing": "1"}
    assert asked["rule_degrade"] == {**one, "mem": "4000M"}
    assert asked["rule_pretrain"] == {**one, "mem": "4000M"}
    assert asked["rule_train"] == {**one, "mem": "4000M"}
    assert asked["rule_restore"] == {**one, "mem": "4000M"}
    assert asked["rule_score"] == {**one, "mem": "4000M"}
    assert asked["rule_bicubic"] == {**one, "mem": "2000M"}
    # Figures and tables side by side, then the report: one job.
    together = {"cpu": "2", "node": "1", "billing": "2", "mem": "6000M"}
    assert asked["rule_report_figures_report_tables"] == together
