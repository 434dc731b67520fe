"""The table of resources."""

import re
from pathlib import Path

import yaml

from framer.dag.resources import TABLE, requested, uses_gpu
from framer.study.study import Study
from tests.fixtures.clone import ROOT


def load(name: str) -> Study:
    return Study.load(ROOT / f"config/{name}.yaml", ROOT / "datasets")


def test_a_study_without_backbones_is_not_tiny(tmp_path: Path) -> None:
    """Its metrics are networks: scoring others' images needs the GPU and memory of full size."""
    study = {"title": "Mine", "seed": 1, "sets": ["photos-crop128"], "protocols": ["framer"], "backbones": {}}
    study |= {"metrics": ["psnr", "niqe"], "arms": {"bicubic": {"label": "Bicubic"}}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(study))
    mine = Study.load(path, ROOT / "datasets")
    assert not mine.tiny
    assert (requested("score", mine)["gpu"], requested("score", mine)["mem_mb"]) == (1, 32000)


def test_tiny_networks_need_no_gpu_but_a_captioning_model_and_other_methods_do() -> None:
    smoke = load("smoke")
    assert smoke.tiny and not load("paper").tiny
    assert [rule for rule in TABLE if uses_gpu(rule, smoke)] == ["caption", "method"]


def test_a_training_takes_threads_and_memory_per_gpu() -> None:
    paper, threads = load("paper"), load("paper").config.threads
    found = requested("train", paper, "dit4sr")
    assert found == {"cpus_per_task": 4 * threads, "mem_mb": 4 * 64000, "runtime": 1440, "gpu": 4, "nodes": 1}
    assert requested("train", paper, "pisa_sr")["gpu"] == 1


def test_every_rule_takes_its_resources_from_the_table() -> None:
    """But those that fetch, and the rehearsal of a training."""
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    rules = dict(re.findall(r"^rule (\w+):\n((?:[ \t].*\n|\n)+)", text, re.MULTILINE))
    others = {"fetch", "base", "weights", "fetch_method", "build_method", "rehearse", "rehearsal"}
    assert rules.keys() - TABLE.keys() == others, "what runs on the login node, and what rehearses a job"
    assert [rule for rule in TABLE if f'requested("{rule}", study)' not in rules[rule]] == []
