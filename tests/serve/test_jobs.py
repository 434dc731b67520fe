"""How jobs stand, from files alone; and that they are the workflow's jobs."""

import os
import re
import time
from pathlib import Path

import pytest

from framer.dag import targets
from framer.dag.scope import Scope
from framer.serve import records
from framer.serve.jobs import SILENCE, Job, jobs, last_lines, standings
from framer.study.study import Study
from tests.fixtures.processes import run_module
from tests.fixtures.snakemake import snakemake

SNAKEFILE = """
rule all:
    input: "results/two/a", "results/two/b1", "results/two/c"
rule a:
    output: "results/two/a"
    message: "Make a"
    shell: "touch {output}"
rule b:
    output: "results/two/b1", "results/two/b2"
    log: "logs/two/b.log"
    message: "Make b"
    shell: "echo Nothing works > {log}; exit 3"
rule c:
    output: "results/two/c"
    shell: "cp -r .snakemake running; touch {output}"
"""


def test_how_each_stands(study: Study) -> None:
    found = standings("two", jobs(Scope(study, {})))
    trained = {one.job.name: one for one in found if one.job.stage == "train"}
    assert {name.removeprefix("pisa_sr-"): one.state for name, one in trained.items()} == {
        "baseline-s0": "done",
        "baseline-s1": "running",
        "framer-s0": "failed",
        "framer-s1": "unknown",
    }
    assert "interrupted" in trained["pisa_sr-framer-s1"].note
    assert {one.state for one in found if one.job.stage == "tables"} == {"waiting"}
    (other,) = [one for one in found if one.job.stage == "weights"]
    assert (other.state, other.job.log) == ("failed", Path("logs/weights/lpips.log"))


def test_what_a_real_run_leaves_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Snakefile").write_text(SNAKEFILE)
    done = run_module("snakemake", "--cores", "1", "--keep-going", "--config", "study=two", cwd=tmp_path)
    assert done.returncode == 1
    assert records.failures("two") == [
        records.Failure("b", ("results/two/b1", "results/two/b2"), Path("logs/two/b.log"))
    ]
    assert records.failures("other") == []
    assert (records.started(), records.locked()) == ({}, set())
    while_c_ran = Path("running")
    assert "results/two/c" in records.started(while_c_ran)
    assert {"results/two/a", "results/two/b2", "results/two/c"} <= records.locked(while_c_ran)


def test_a_long_name_is_read_from_its_folders(tmp_path: Path) -> None:
    output = "results/" + "x" * 300
    text = records.base64.urlsafe_b64encode(output.encode()).decode()
    path = tmp_path / "incomplete" / f"@{text[:254]}" / text[254:]
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    (tmp_path / "incomplete" / "no marker").write_text("")
    assert list(records.started(tmp_path)) == [output]


def test_what_is_silent_for_long_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job("train", "x", ("results/x",), Path("x.log"))
    [marker] = [Path(".snakemake/incomplete") / records.base64.urlsafe_b64encode(b"results/x").decode()]
    for path, text in ((marker, "{}"), (Path(".snakemake/locks/0.output.lock"), "results/x")):
        path.parent.mkdir(parents=True)
        path.write_text(text)

    def state(begun: float, written: float | None) -> tuple[str, str]:
        now = time.time()
        os.utime(marker, (now - begun, now - begun))
        Path("x.log").unlink(missing_ok=True)
        if written is not None:
            Path("x.log").write_text("")
            os.utime("x.log", (now - written, now - written))
        (one,) = standings("s", [job])
        return one.state, one.note.partition(";")[0]

    assert state(60, 5) == ("running", "")
    assert state(SILENCE + 99, SILENCE + 9)[0] == "unknown"
    assert state(60, None) == state(60, 600) == ("running", "submitted")
    assert state(SILENCE + 9, None)[0] == "unknown"


def test_the_end_of_a_log_is_what_a_terminal_shows(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"first\n" + b"x" * 20_000 + b"\na\rb\x1b[0m\r\n\nlast \xff")
    assert last_lines(path, 2) == ["b[0m", "last \ufffd"]
    assert last_lines(tmp_path / "none", 2) == last_lines(None, 2) == []


def test_they_are_the_jobs_of_the_workflow(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all outputs of the study, and with the logs into which Snakemake's commands write."""
    monkeypatch.chdir(clone)
    scope = Scope.open({"study": "micro"})
    found = jobs(scope)
    made = [output for job in found for output in job.outputs]
    assert len(made) == len({*made}) and set(targets.results(scope)) <= {*made}
    done = snakemake(clone, "-n", "-p", "--config", "study=micro")
    logs = re.findall(r"^Shell command: framer .* 2?> (\S+)", done.stdout, re.MULTILINE)
    others = ("logs/weights/", "logs/micro/metric_weights")
    assert {str(job.log) for job in found} == {log for log in logs if not log.startswith(others)}
