"""The estimate of `framer plan`."""

import json
import re

import pytest
import yaml

from framer.dag.plan import Plan
from framer.dag.scope import Scope
from framer.study.study import Study
from tests.fixtures.clone import ROOT
from tests.fixtures.processes import run_module
from tests.fixtures.snakemake import jobs, snakemake


def plan(name, logs):
    study = Study.load(ROOT / f"config/{name}.yaml", ROOT / "datasets")
    return Plan(Scope(study, {}), logs)


@pytest.mark.parametrize("name", ["smoke", "micro", "paper", "questions"])
def test_the_jobs_are_those_that_snakemake_counts(clone, name):
    """Without missing data in both."""
    counted = jobs(snakemake(clone, "-n", "--cores", "1", "--config", f"study={name}").stdout)
    del counted["all"], counted["total"]
    priced = run_module("framer", "plan", "--study", f"config/{name}.yaml", cwd=clone).stdout
    assert {rule: int(jobs) for rule, jobs in re.findall(r"^(\w+) +(\d+) +\d", priced, re.MULTILINE)} == counted
    left_out = [line for line in priced.splitlines() if line.startswith("Not counted, n/a in the tables")]
    if name != "questions":  # whose photographs are installed on some machines
        assert bool(left_out) == (name != "smoke")


def test_a_measured_speed_is_taken_instead_of_an_estimate(tmp_path):
    before = {part.rule: part for part in plan("paper", tmp_path).parts}["train"]
    config = yaml.safe_load((ROOT / "config/paper.yaml").read_text())["backbones"]["dit4sr"]
    said = {"backbone": "dit4sr", "base": config["base"], "stage": "control", "crop": 512, "seconds": 1.0}
    folder = tmp_path / "paper/tracking/dit4sr-baseline-s0"
    folder.mkdir(parents=True)
    (folder / "speed-control.json").write_text(json.dumps({**said, "device": "a GPU"}))
    after = {part.rule: part for part in plan("paper", tmp_path).parts}["train"]
    control = config["train"]["control"]
    assert after.longest == pytest.approx(20 + control["steps"] * control["batch"] / config["gpus"])
    assert "measured: a GPU" in after.how and "measured" not in before.how


def changed(clone, old, new):
    """The plan of a paper study of which some text is another."""
    path = clone / "config" / "paper.yaml"
    before = path.read_text()
    path.write_text(before.replace(old, new))
    assert path.read_text() != before
    found = Plan(Scope(Study.load(path, clone / "datasets"), {}), clone)
    return {part.rule: part for part in found.parts}


def test_gpus_share_a_training_and_take_no_more_of_it(clone):
    before = {part.rule: part for part in plan("paper", clone).parts}["train"]
    after = changed(clone, "gpus: 4 ", "gpus: 16")["train"]
    assert after.longest - 20 == pytest.approx((before.longest - 20) / 4)
    assert after.seconds - before.seconds == pytest.approx(20 * 12 * 19), "the start, on each of 12 more GPUs"


def test_gradient_checkpointing_costs_a_forward_pass(clone):
    before = {part.rule: part for part in plan("paper", clone).parts}
    after = changed(clone, "gradient_checkpointing: true", "gradient_checkpointing: false")
    starts = 20 * (87 + 20 * 4)
    ratio = (before["train"].seconds - starts) / (after["train"].seconds - starts)
    assert ratio == pytest.approx(4 / 3, rel=0.01)
    assert after["cost"].seconds < before["cost"].seconds and before["cost"].gpu and before["analyse"].gpu


def test_large_images_are_restored_in_tiles(tmp_path):
    """By counting: of an LR image of 256 the network sees nine tiles of 512, of one of 128 a single one."""
    found = plan("paper", tmp_path)
    speeds = found.table["dit4sr"]["full"]
    one = speeds["restore"] * 0.512**2
    assert found._restored("realsr-crop128", speeds) == pytest.approx(one)
    assert found._restored("reallq250", speeds) == pytest.approx(9 * one)
    # Tiles of 512 from 0, 320 and 640, and one that ends at the border of 1200.
    assert found.study.manifests["reallr200-full"].lr_side is None
    assert found._restored("reallr200-full", speeds) == pytest.approx(16 * one)
    assert found._restored("reallq250", found.table["pisa_sr"]["full"]) == pytest.approx(0.05 * 1.024**2)


def test_more_devices_are_never_slower_and_the_longest_job_bounds_them(tmp_path):
    found = plan("paper", tmp_path)
    walls = [found.wall(devices) for devices in (1, 2, 8, 10**6)]
    assert walls == sorted(walls, reverse=True)
    assert walls[0] == pytest.approx(sum(part.seconds for part in found.parts))
    assert walls[-1] == pytest.approx(sum(part.longest for part in found.parts))


def test_it_writes_nothing(clone):
    before = sorted(clone.rglob("*"))
    done = run_module("framer", "plan", "--study", "config/paper.yaml", cwd=clone)
    assert done.returncode == 0 and "GPU-hours" in done.stdout, done.stderr
    assert sorted(clone.rglob("*")) == before


def test_published_weights_without_a_manifest_are_one_line(clone):
    path = clone / "config" / "paper.yaml"
    path.write_text(path.read_text().replace("checkpoint: pisa_sr}", "checkpoint: pisa_srr}"))
    done = run_module("framer", "plan", "--study", "config/paper.yaml", cwd=clone)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    where = "config/paper.yaml: arms.pisa_sr-published.checkpoint"
    assert line.startswith(f"framer: error: {where}: unknown weights 'pisa_srr', did you mean 'pisa_sr'?")


def test_a_set_that_is_here_is_counted_and_what_is_guessed_is_said(clone, monkeypatch):
    monkeypatch.chdir(clone)
    found = plan("paper", clone)
    lines = [line for line in found.table_lines(1) if line.startswith("Assumption")]
    assert any("div8k: 1500 images" in line for line in lines)
    assert any("reallr200-full: LR images of 300 pixels" in line for line in lines)
    for name, part in (("reallr200-full", "LR"), ("div8k", "HR")):
        (clone / "datasets" / name).mkdir()
        rows = "".join(f"{part}/{k}.png,48,32,{k:064x}\n" for k in range(3))
        (clone / "datasets" / name / "index.csv").write_text("name,width,height,sha256\n" + rows)
    found = plan("paper", clone)
    assert not [line for line in found.table_lines(1) if line.startswith("Assumption")]
    assert (found._count("div8k"), found._count("reallr200-full")) == (3, 200)
    assert found._lr_side("reallr200-full") == pytest.approx((48 * 32) ** 0.5)
