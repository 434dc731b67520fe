"""What is measured of a job is the job's own."""

from pathlib import Path

import numpy as np
import pytest

from framer.rehearsal.jobs import run
from tests.fixtures.clone import ROOT


@pytest.fixture(autouse=True)
def _of_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_memory_of_the_process_that_starts_it_does_not_count(tmp_path: Path) -> None:
    held = np.ones(60_000_000)
    found = run("score", "help", ["--help"], tmp_path / "logs/log.txt")
    assert found.outcome == "ok" and 5e6 < found.peak < held.nbytes / 2
    assert "usage: framer" in (tmp_path / "logs/log.txt").read_text()


def test_a_mistake_is_a_failure_with_its_line(tmp_path: Path) -> None:
    found = run("score", "none", ["nothing"], tmp_path / "log.txt")
    assert found.outcome == "failed" and found.reason.startswith("framer: error: ")


def test_a_job_is_killed_and_its_memory_is_known(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    waiting = ["serve", "--study", str(ROOT / "config/smoke.yaml"), "--port", "0"]
    found = run("train", "served", waiting, log, kill_when=lambda: "http://" in log.read_text())
    assert found.outcome == "killed as planned" and found.peak > 5e6
