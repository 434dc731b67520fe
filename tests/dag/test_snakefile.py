"""The Snakefile as Snakemake sees it: dry runs of real Snakemake processes in a copy of the workflow."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from framer.backbones import registry
from framer.backbones.settings import Settings
from framer.dag import inputs, preflight, targets
from framer.dag.plan import Plan
from framer.dag.scope import Scope
from framer.study.study import Study
from framer.weights.manifest import WeightsManifest
from tests.fixtures.clone import ROOT
from tests.fixtures.processes import run_module
from tests.fixtures.snakemake import jobs, snakemake

PAPER_SETS = ["realsr-crop128", "drealsr-crop128", "reallr200-full", "reallq250"]


ONCE = {"all": 1, "figures": 1, "tables": 1, "report": 1}
SMOKE = ONCE | {"fetch": 1, "degrade": 1, "pretrain": 1, "train": 5, "restore": 6, "bicubic": 1, "score": 7}
SMOKE |= {"weights": 2}
MICRO = ONCE | {"fetch": 1, "degrade": 1, "pretrain": 2, "train": 12, "restore": 12, "bicubic": 1, "score": 13}
MICRO |= {"weights": 1, "encode": 1, "analyse": 2, "cost": 1}
SINGLE_GPU = ONCE | {"fetch": 4, "base": 1, "weights": 6, "train": 9, "restore": 18, "bicubic": 2, "score": 20}
SINGLE_GPU |= {"analyse": 1, "cost": 1}
METHODS = ONCE | {"fetch": 2, "base": 2, "weights": 4, "metric_weights": 1, "caption": 2, "release": 1}
METHODS |= {"restore": 2, "bicubic": 2, "feed_forward": 6, "score": 10}
PAPER = ONCE | {"fetch": 9, "base": 3, "weights": 8, "caption": 9, "release": 2, "train": 103, "restore": 173}
PAPER |= {"bicubic": 4, "supplied": 12, "feed_forward": 4, "score": 193, "analyse": 2, "cost": 1}
PAPER_WITHOUT_DIV8K = ONCE | {"fetch": 5, "base": 3, "weights": 8, "caption": 5, "release": 1, "train": 84}
PAPER_WITHOUT_DIV8K |= {
    "restore": 111,
    "bicubic": 3,
    "supplied": 1,
    "feed_forward": 3,
    "score": 118,
    "analyse": 1,
    "cost": 1,
}
PAPER_FETCHED = ONCE | {"fetch": 2, "base": 2, "weights": 7, "caption": 2, "release": 1, "restore": 6, "bicubic": 2}
PAPER_FETCHED |= {"feed_forward": 2, "score": 10}
"""Jobs by rule: of each study, of the paper study without DIV8K and RealLR200, and of what can be fetched alone."""


def planned(done: CompletedProcess[str]) -> dict[str, int]:
    """The job counts of a dry run that succeeded, without their sum."""
    assert done.returncode == 0, done.stdout
    counts = jobs(done.stdout)
    assert counts.pop("total") == sum(counts.values())
    return counts


@pytest.mark.parametrize(
    ("name", "expected"), [("smoke", SMOKE), ("micro", MICRO), ("single-gpu", SINGLE_GPU), ("methods", METHODS)]
)
def test_the_jobs_of_a_study(clone: Path, name: str, expected: dict[str, int]) -> None:
    assert planned(snakemake(clone, "-n", "--cores", "2", "--config", f"study={name}")) == expected


def test_every_run_is_trained_once_and_every_row_restored_once_per_set(clone: Path) -> None:
    study, text = Study.load(clone / "config" / "smoke.yaml", clone / "datasets"), shell_of(clone, "smoke")
    assert sorted(re.findall(r"framer train .*--run (\S+)", text)) == sorted(study.runs)
    restored = [study.paths.images(row, name).as_posix() for row, name in study.pairs]
    assert sorted(re.findall(r"framer restore .*--out (\S+)", text)) == sorted(restored)


BY_HAND = {"reallr200-full", "reallq250", "ffhq-10k"}
OTHERS = [f"{arm}/{name}" for arm in ("resshift", "seesr", "dreamclear") for name in PAPER_SETS]


def drop(root: Path, *names: str) -> None:
    """Bring by hand sets, each as an archive, images of others or weights; a dry run does not look into them."""
    for name in names:
        folder = f"supplied/{name}" if "/" in name else f"weights/{name}" if name == "pisa_sr" else f"datasets/{name}"
        (root / folder).mkdir(parents=True)
        (root / folder / ("pisa_sr.pkl" if name == "pisa_sr" else "images.zip")).touch()


def test_the_command_as_typed_plans_the_paper_on_slurm(clone: Path) -> None:
    drop(clone, *BY_HAND, *OTHERS, "pisa_sr")
    done = snakemake(clone, "-n", "--cores", "all", "--profile", "slurm")
    assert planned(done) == PAPER
    assert "n/a in the tables" not in done.stdout


def test_the_methods_of_others_are_jobs_of_the_paper(clone: Path) -> None:
    """Their clones, environments and weights are made on the submit host; weights that wait for a user are named."""
    path, config = clone / "config" / "paper.yaml", (clone / "config" / "paper.yaml").read_text()
    for name in ("resshift", "seesr", "dreamclear"):
        assert f"{name}: {{" in config
        config = re.sub(rf"({name}: {{.*), images: true}}", rf"\1, method: {name}}}", config)
    path.write_text(config.replace("\narms:\n", "\narms:\n  stablesr: {label: StableSR, method: stablesr}\n"))
    drop(clone, *BY_HAND, "pisa_sr")
    for name in ("resshift", "seesr", "dreamclear"):
        for file in WeightsManifest.load(name, clone / "weights").files:
            (clone / "weights" / file.path).parent.mkdir(exist_ok=True)
            (clone / "weights" / file.path).touch()
    done = snakemake(clone, "-n", "-p", "--cores", "all", "--profile", "slurm")
    counts = planned(done)
    made = {rule: counts[rule] for rule in ("fetch_method", "build_method", "method", "feed_forward")}
    assert made == {"fetch_method": 3, "build_method": 3, "method": 12, "feed_forward": 4}
    for name in ("resshift", "seesr", "dreamclear"):
        out = f"results/paper/images/{name}/realsr-crop128"
        assert f"framer run-method {name} --lr datasets/realsr-crop128/LR --out {out} " in done.stdout
    assert "framer fetch --weights stabilityai/sd-vae-ft-ema" in done.stdout
    assert "n/a in the tables: stablesr: run: framer fetch --weights stablesr --accept-hash" in done.stdout


def test_what_is_missing_is_named_and_the_rest_is_planned(clone: Path) -> None:
    """Test sets, training sets and the rows that are trained on them, published weights, images of others."""
    path = clone / "datasets" / "div8k.yaml"
    manifest = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(manifest | {"sources": manifest["sources"][1:]}))
    drop(clone, "ffhq-10k", "reallq250", "seesr/realsr-crop128")
    done = snakemake(clone, "-n", "--cores", "all", "--profile", "slurm")
    assert planned(done) == PAPER_WITHOUT_DIV8K
    for name in ("reallr200-full", "div8k"):  # without its first source the latter must be downloaded manually, too
        assert len(re.findall(f": {name}: put the images into datasets/{name}/", done.stdout)) == 1
    assert re.search(r"n/a in the tables: dit4sr-baseline-s0, .*: training needs div8k", done.stdout)
    assert "n/a in the tables: pisa_sr: download weights/pisa_sr/pisa_sr.pkl manually" in done.stdout
    assert len(re.findall("n/a in the tables: images of ", done.stdout)) == 3
    seesr = " and ".join(f"supplied/seesr/{name}/" for name in PAPER_SETS if name != "realsr-crop128")
    assert f"images of SeeSR: put them, named as the LR images, into {seesr}\n" in done.stdout


def test_without_manual_downloads_published_weights_are_omitted(clone: Path) -> None:
    done = snakemake(clone, "-n", "--cores", "all")
    assert done.returncode == 0, done.stdout
    assert "InputFunctionException" not in done.stdout
    gated = re.findall(r"^Gated: (\S+): accept its terms on the hub and set HF_TOKEN", done.stdout, re.MULTILINE)
    assert gated == ["stabilityai/stable-diffusion-3.5-medium", "lsdir"]
    assert planned(done) == PAPER_FETCHED


def test_a_study_in_which_nothing_may_be_missing_refuses_a_missing_set_in_one_line(clone: Path) -> None:
    path = clone / "config" / "paper.yaml"
    path.write_text(path.read_text().replace("strict: true", "strict: all"))
    done = snakemake(clone, "-n", "--cores", "1")
    assert done.returncode == 1
    assert re.search(
        r"^config/paper.yaml: strict: a set is missing: \S+: put the images into .*$", done.stdout, re.MULTILINE
    )


def test_a_strict_study_refuses_metrics_without_weights_in_one_line(clone: Path) -> None:
    """Not what must be downloaded manually: that is n/a."""
    offline = {"HF_HUB_OFFLINE": "1"}
    done = snakemake(clone, "-n", "--cores", "1", "--config", "study=single-gpu", **offline)
    assert done.returncode == 1
    line = r"^config/single-gpu.yaml: strict: weights are missing: \S+: run: framer fetch --weights \S+$"
    assert re.search(line, done.stdout, re.MULTILINE), done.stdout
    path = clone / "config" / "single-gpu.yaml"
    path.write_text(path.read_text().replace("strict: true", "strict: false"))
    assert (
        "Without weights: " in snakemake(clone, "-n", "--cores", "1", "--config", "study=single-gpu", **offline).stdout
    )


def test_studies_do_not_leak_into_each_other(clone: Path) -> None:
    """The other study may be invalid, missing or full of keys: only the selected one is read."""
    plain = snakemake(clone, "-n", "--cores", "1", "--config", "study=smoke")
    shutil.copy(clone / "config" / "smoke.yaml", clone / "config" / "mine.yaml")
    (clone / "config" / "paper.yaml").write_text("strict: true\nseeds: [7, 8]\nnonsense: 1\n")
    other = snakemake(clone, "-n", "--cores", "1", "--config", "study=mine")
    assert jobs(other.stdout) == jobs(plain.stdout)
    digests = r"--expect \w+"
    assert sorted(re.findall(digests, shell_of(clone, "smoke"))) == sorted(re.findall(digests, shell_of(clone, "mine")))
    assert re.search(r"config/paper.yaml: .*unknown key 'nonsense'", snakemake(clone, "-n", "--cores", "1").stdout)


def shell_of(root: Path, study: str) -> str:
    return snakemake(root, "-n", "-p", "--cores", "1", "--config", f"study={study}").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "study=smok"], "config/smok.yaml: no such file; there are: "),
        (["--config", "study=config/smoke.yaml"], "--config study=config/smoke.yaml: give the name of the study alone"),
        (["--config", "study=smoke", "rivals=maybe"], "--config rivals: 'maybe' is neither true nor false"),
        (
            ["--config", "study=smoke", "rivals=true"],
            "config/smoke.yaml: rivals: missing; the study has no optional part",
        ),
        (["--config", "study=smoke", "steps=3"], "--config steps: unknown key 'steps'"),
        (["--configfile", "config/paper.yaml", "--config", "study=smoke"], "--config title: unknown key 'title'"),
    ],
)
def test_other_configuration_is_refused(clone: Path, arguments: list[str], words: str) -> None:
    done = snakemake(clone, "-n", "--cores", "1", *arguments)
    assert done.returncode == 1
    assert sum(line.startswith(words) for line in done.stdout.splitlines()) == 1, done.stdout


def test_a_misspelt_recipe_stops_before_any_job(clone: Path) -> None:
    path = clone / "config" / "smoke.yaml"
    path.write_text(path.read_text().replace("recipe: released", "recipe: reelased", 1))
    done = snakemake(clone, "--cores", "1", "--config", "study=smoke")
    assert done.returncode == 1
    line = r"^config/smoke.yaml: arms.pisa_sr-framer.recipe: unknown recipe 'reelased', did you mean 'released'\?"
    assert re.search(line, done.stdout, re.MULTILINE), done.stdout
    assert not (clone / "results").exists()


def test_the_linter_is_content(clone: Path) -> None:
    done = snakemake(clone, "--lint", "--config", "study=smoke")
    assert done.returncode == 0, done.stdout


def test_the_formatter_is_content() -> None:
    done = run_module("snakefmt.snakefmt", "--check", "Snakefile", "workflow", cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_studies_span_what_the_tables_need() -> None:
    study = Study.load(ROOT / "config" / "paper.yaml", ROOT / "datasets")
    assert study.config.sets == PAPER_SETS
    assert study.config.metrics == ["psnr", "ssim", "lpips", "niqe", "maniqa", "musiq"]
    assert len(study.config.seeds) >= 3


@pytest.mark.parametrize(
    ("options", "gpus"),
    [(["--profile", "slurm"], 4), ([], 1), (["--resources", "gpu=8"], 4)],
    ids=["slurm", "here", "8"],
)
def test_jobs_take_turns_on_the_gpu_of_one_machine_and_not_on_a_cluster(clone: Path, options: list[str], gpus: int):
    drop(clone, *BY_HAND)
    card = "results/paper/runs/dit4sr-baseline-s0/card.json"
    done = snakemake(clone, "-n", "-p", "--cores", "8", *options, "--", card)
    assert done.returncode == 0, done.stdout
    assert re.findall(r"framer train .* --gpus (\d+) --nodes 1", done.stdout) == [str(gpus)]


def test_no_rule_has_retries_of_its_own() -> None:
    """Each nested Snakemake would honour them again: they are the profile's alone."""
    assert not [path for path in (ROOT / "workflow/rules").glob("*.smk") if "retries:" in path.read_text()]


def test_settings_and_jobs_are_parsed_once(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run of all that the rules ask: equal settings are validated once, each job is resolved once."""
    monkeypatch.chdir(clone)
    resolved, validated = Counter(), Counter()
    resolve, validate = Study._train_job, Settings.model_validate.__func__

    def counted_resolve(self, run):
        resolved[run] += 1
        return resolve(self, run)

    def counted_validate(cls, given, **options):
        validated[cls, json.dumps(given, sort_keys=True)] += 1
        return validate(cls, given, **options)

    monkeypatch.setattr(registry, "_PARSED", {})
    monkeypatch.setattr(Study, "_train_job", counted_resolve)
    monkeypatch.setattr(Settings, "model_validate", classmethod(counted_validate))
    scope = Scope.open({"study": "micro"})
    preflight.warnings(scope)
    assert Plan(scope).parts and targets.results(scope)
    for run in scope.runs:
        inputs.train(scope, run)
    for row, name in scope.pairs:
        inputs.restore(scope.study, row, name)
        scope.study.restore_job(row)
    assert {*resolved.values()} == {*validated.values()} == {1}
    assert {*resolved} == {*scope.runs}
