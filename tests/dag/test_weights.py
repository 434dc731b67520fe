"""Weights as jobs: what is fetched, what jobs hang on, and what makes them run again."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from framer.dag.weights import Weights
from framer.provenance.cards import write_card
from framer.scoring.protocols import PROTOCOLS
from framer.weights.manifest import WeightsManifest
from framer.weights.store import folder as weights_folder
from framer.weights.store import hashes
from tests.fixtures.snakemake import jobs, snakemake
from tests.hub.hub_server import IMPATIENT, Hub

METRICS = ["psnr", "niqe", "musiq"]
NIQE, MUSIQ = "hub/pyiqa/niqe_modelparameters.mat", "hub/pyiqa/musiq_koniq_ckpt-e95806b9.pth"
PLAIN = {"psnr": "psnr@rgb,c0", "niqe": "niqe@live,y-yiq-full,c0", "musiq": "musiq@koniq"}


@pytest.fixture
def folder(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(clone)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("FRAMER_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def put(folder: Path, name: str, data: bytes = b"x", card: str = "") -> None:
    """A file of weights, with the card of its manifest where that is named."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    if card:
        (folder / card).mkdir(exist_ok=True)
        write_card(folder / card, "weights", [f"../{name}"], weights=card)


def state(network: bool = True) -> str:
    return Weights(network).state("framer", METRICS)


def test_fetched_weights_change_nothing_for_a_job_that_ran_after_them(folder: Path) -> None:
    before = Weights(network=True)
    assert [before.standing(name) for name in ("niqe", "musiq-koniq")] == ["wanted", "wanted"]
    assert before.state("framer", METRICS) == " ".join(PLAIN.values())
    put(folder, NIQE, card="niqe")
    put(folder, MUSIQ, card="musiq-koniq")
    after = Weights(network=True)
    assert [after.standing(name) for name in ("niqe", "musiq-koniq")] == ["kept", "kept"]
    names = before.of_metrics(PROTOCOLS["framer"].select(METRICS))
    assert names == ["musiq-koniq", "niqe"]
    assert after.state("framer", METRICS) == before.state("framer", METRICS)
    assert before.cards(names) == after.cards(names) == [str(folder / name / "card.json") for name in names]
    assert not after.missing(names) and after.loose(names) is None


def test_weights_that_were_put_there_are_followed_by_their_bytes(folder: Path) -> None:
    seen = {state()}
    for data in (b"one", b"two"):
        put(folder, NIQE, data)
        seen.add(state())
        assert Weights(True).standing("niqe") == "loose" and not Weights(True).cards(["niqe"])
    assert len(seen) == 3
    (folder / NIQE).touch()
    assert state() in seen, "a touched file changes nothing"
    put(folder, NIQE, b"two", card="niqe")
    put(folder, NIQE, b"three")
    assert Weights(True).standing("niqe") == "loose", "it is not the file of the card"


def test_without_a_network_what_no_package_has_is_not_computed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, NIQE, card="niqe")
    names = Weights.of_metrics(PROTOCOLS["framer"].select(METRICS))
    assert Weights(False).cards(names) == [str(folder / "niqe" / "card.json")]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert Weights(True).cards(names) == [str(folder / "niqe" / "card.json")]
    how = "musiq-koniq: run: framer fetch --weights musiq-koniq"
    assert Weights(True).missing(["niqe", "musiq-koniq"]) == {"musiq-koniq": how}


def test_without_a_network_packages_are_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From promise to card, as with downloads."""
    from framer.weights.fetch import fetch_weights

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = Weights(network=False)
    assert before.standing("niqe") == "wanted"
    fetch_weights(WeightsManifest.load("niqe"), folder)
    after = Weights(network=False)
    assert after.standing("niqe") == "kept" and after.cards(["niqe"]) == before.cards(["niqe"])
    assert after.state("framer", METRICS) == before.state("framer", METRICS)
    put(folder, NIQE)
    assert Weights(network=False).standing("niqe") == "loose", "published files come first"


def test_a_file_that_was_lost_is_not_promised(folder: Path) -> None:
    """Its card is there: Snakemake would not run the rule that brings it."""
    put(folder, NIQE, card="niqe")
    (folder / NIQE).unlink()
    assert Weights(True).standing("niqe") == "missing"
    assert not Weights(True).cards(["niqe"])


def test_manual_and_gated_weights_are_not_scheduled(folder: Path, clone: Path) -> None:
    assert Weights(True).standing("pisa_sr") == "missing"
    assert "manually" in Weights(True).missing(["pisa_sr"])["pisa_sr"]
    path = clone / "weights" / "musiq-koniq.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"gated": True}))
    assert Weights(True).standing("musiq-koniq") == "missing"
    put(folder, "pisa_sr/pisa_sr.pkl")
    assert Weights(True).standing("pisa_sr") == "loose"


def test_the_card_that_is_compared_is_the_one_that_fetch_writes(folder: Path) -> None:
    from framer.weights.fetch import fetch_weights

    put(folder, NIQE, b"parameters")
    fetch_weights(WeightsManifest.load("niqe"), weights_folder())
    assert Weights(True).standing("niqe") == "kept"
    assert hashes([NIQE]) == {NIQE: hashlib.sha256(b"parameters").hexdigest()}


def test_the_workflow_fetches_scores_and_rests(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights come once; nothing runs again because they are there now, and the score does when their bytes change."""

    if not (given := os.environ.get("FRAMER_TEST_WEIGHTS")):
        pytest.skip("set FRAMER_TEST_WEIGHTS to a folder with NIQE's parameters")
    [parameters] = Path(given).rglob("niqe_modelparameters.mat")
    study = {"title": "Mine", "seed": 1, "sets": ["photos-crop128"], "protocols": ["framer"], "backbones": {}}
    study |= {"metrics": ["psnr", "niqe"], "arms": {"bicubic": {"label": "Bicubic"}}}
    (clone / "config" / "mine.yaml").write_text(yaml.safe_dump(study))
    scores = "results/mine/scores/bicubic/photos-crop128/framer.csv"
    run = ("--cores", "1", "--config", "study=mine", "--", scores)
    with Hub("chaofengc/IQA-PyTorch-Weights", {parameters.name: parameters.read_bytes()}).serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(clone / "home"))
        monkeypatch.setenv("PYTHONPATH", IMPATIENT)
        done = snakemake(clone, *run)
        assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == {"bicubic": 1, "degrade": 1, "fetch": 1, "score": 1, "weights": 1, "total": 5}
    sidecar = json.loads((clone / scores).with_suffix(".json").read_text())
    assert sidecar["unavailable"] == {} and NIQE in sidecar["weights"]
    assert "Nothing to be done" in snakemake(clone, *run).stdout
    path = clone / "weights" / NIQE
    path.write_bytes(path.read_bytes() + b" ")
    assert jobs(snakemake(clone, "-n", *run).stdout) == {"score": 1, "total": 1}
    path.unlink()
    again = snakemake(clone, "-n", *run).stdout
    assert jobs(again) == {"score": 1, "total": 1}
    assert "Without weights: NIQE of framer; fetch them by: framer fetch --protocol framer" in again


FETCH, SCORE, RENDER = "Fetch weights", "Score bicubic", "Render the"


@pytest.mark.slow
def test_a_metric_whose_weights_cannot_be_fetched_is_na_until_they_come(
    clone: Path,
) -> None:
    """Each run tries again; one that fails again scores nothing again; a strict study stops."""
    if not (given := os.environ.get("FRAMER_TEST_WEIGHTS")):
        pytest.skip("set FRAMER_TEST_WEIGHTS to a folder with NIQE's parameters")
    [parameters] = Path(given).rglob("niqe_modelparameters.mat")
    path = clone / "weights" / "niqe.yaml"
    manifest = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "embedded"}
    path.write_text(yaml.safe_dump(manifest))
    study = {"title": "Mine", "seed": 1, "sets": ["photos-crop128"], "protocols": ["framer"], "backbones": {}}
    study |= {"metrics": ["psnr", "niqe"], "arms": {"bicubic": {"label": "Bicubic"}}}
    (clone / "config" / "mine.yaml").write_text(yaml.safe_dump(study))
    (clone / "config" / "hard.yaml").write_text(yaml.safe_dump(study | {"strict": True}))
    results = clone / "results" / "mine"
    scores = results / "scores" / "bicubic" / "photos-crop128" / "framer.csv"

    def ran(hub: Hub | None, study: str = "mine") -> tuple[int, str, set[str]]:
        """Exit code, output and the first words of the jobs of one run."""
        where = hub.url if hub else "http://127.0.0.1:9"
        environment = {"HF_ENDPOINT": where, "HF_HOME": str(clone / "home"), "PYTHONPATH": IMPATIENT}
        target = f"results/{study}/tables/main.md"
        done = snakemake(clone, "--cores", "1", "--config", f"study={study}", "--", target, **environment)
        started = re.findall(r"^Job \d+: (\w+ \w+)", done.stdout, re.MULTILINE)
        return done.returncode, done.stdout, set(started)

    code, output, started = ran(None)
    assert code == 0, output
    assert {FETCH, SCORE, RENDER} < started
    reason = json.loads((results / "scores" / "failures.json").read_text())["failures"]["niqe"]
    assert "out of reach" in reason
    table = " ".join((results / "tables" / "main.md").read_text().split())
    assert "n/a" in table and "run: framer fetch --weights niqe" in table
    before = scores.read_text()

    code, output, started = ran(None)
    assert code == 0, output
    assert FETCH in started and SCORE not in started

    with Hub("chaofengc/IQA-PyTorch-Weights", {parameters.name: parameters.read_bytes()}).serve() as hub:
        code, output, started = ran(hub)
    assert code == 0, output
    assert {FETCH, SCORE, RENDER} <= started
    assert scores.read_text().count("niqe") == scores.read_text().count("psnr")
    assert {*before.splitlines()} < {*scores.read_text().splitlines()}
    assert "n/a" not in (results / "tables" / "main.md").read_text()
    output = ran(None)[1]
    assert "Nothing to be done" in output, output

    (clone / "weights" / NIQE).unlink()
    (clone / "weights" / "niqe" / "card.json").unlink()
    shutil.rmtree(clone / "home")
    code, output, _ = ran(None, "hard")
    assert code == 1 and not (clone / "results" / "hard" / "tables").exists()
    assert "out of reach" in (clone / "logs" / "weights" / "niqe.log").read_text()
