"""The Snakefile as Snakemake sees it: dry runs of real Snakemake processes in a copy of the workflow."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from framer.study import Study

ROOT = Path(__file__).resolve().parents[2]


def snakemake(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", *arguments]
    env = {key: value for key, value in os.environ.items() if key not in ("FRAMER_WEIGHTS", "HF_HUB_OFFLINE")}
    return subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def jobs(output: str) -> dict[str, int]:
    """The job counts that a dry run prints, by rule."""
    table = re.search(r"Job stats:\n.*\n[- ]+\n((?:\S+ +\d+\n)+)", output)
    assert table, output
    return {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())}


METRIC_WEIGHTS = {
    "framer": {"lpips-alex", "niqe", "maniqa-koniq", "musiq-koniq"},
    "osediff": {"lpips-alex", "niqe", "maniqa-pipal", "musiq-koniq"},
}
"""Of the six metrics; a tiny study fetches none."""


def expected_jobs(root: Path, name: str, absent: set[str] = frozenset()) -> dict[str, int]:
    """Job counts from the study file alone, by counting arms."""
    config = yaml.safe_load((root / "config" / f"{name}.yaml").read_text())
    manifests = {path.stem: yaml.safe_load(path.read_text()) for path in (root / "datasets").glob("*.yaml")}
    backbones = {key: value for key, value in config["backbones"].items() if not absent & {*value["data"]["sets"]}}
    arms = [
        arm for arm in config["arms"].values() if arm.get("backbone", next(iter(backbones), "")) in {*backbones, ""}
    ]
    seeds = len(config["seeds"])
    sets = [name for name in config["sets"] if name not in absent]
    trained = [arm for arm in arms if "backbone" in arm]
    plain = [arm for arm in arms if "backbone" not in arm and "of" not in arm]
    bases = {(arm["backbone"], bool(arm.get("untrained"))) for arm in trained}
    tiny = {base for base in bases if backbones[base[0]]["base"] == "tiny"}
    rows = len(plain) + seeds * (len(arms) - len(plain))
    data = {*sets} | {item for backbone in backbones.values() for item in backbone["data"]["sets"]}
    degraded = {item for item in data if manifests[item]["sources"][0]["kind"] == "degraded"}
    data |= {manifests[item]["sources"][0]["of"] for item in degraded}
    weights = set().union(*(METRIC_WEIGHTS[protocol] for protocol in config["protocols"]))
    weights |= {"lpips-vgg"} if "pisa_sr" in backbones else set()
    counts = {
        "all": 1,
        "fetch": len(data - degraded),
        "degrade": len(degraded),
        "pretrain": len(tiny),
        "base": len(bases - tiny),
        "weights": len(weights) if len(tiny) < len(bases) or not bases else 0,
        "train": seeds * len(trained),
        "restore": seeds * (len(arms) - len(plain)) * len(sets),
        "bicubic": len(plain) * len(sets),
        "score": rows * len(sets) * len(config["protocols"]),
        "tables": 1,
        "figures": 1,
        "report": 1,
    }
    return {rule: count for rule, count in counts.items() if count} | {"total": sum(counts.values())}


def test_smoke_plans_what_its_file_says(clone: Path) -> None:
    done = snakemake(clone, "-n", "--cores", "2", "--config", "study=smoke")
    assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == expected_jobs(clone, "smoke")


BY_HAND = {"reallr200-full", "reallq250", "ffhq-10k"}


def drop(root: Path, *sets: str) -> None:
    """Bring sets by hand, each as an archive; a dry run does not look into it."""
    for name in sets:
        (root / "datasets" / name).mkdir()
        (root / "datasets" / name / "images.zip").touch()


def test_the_command_as_typed_plans_the_paper_on_slurm(clone: Path) -> None:
    drop(clone, *BY_HAND)
    start = time.perf_counter()
    done = snakemake(clone, "-n", "--cores", "all", "--profile", "slurm")
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == expected_jobs(clone, "paper")
    assert "n/a in the tables" not in done.stdout
    assert seconds < 20


def test_what_is_absent_is_named_and_the_rest_is_planned(clone: Path) -> None:
    """Test sets, training sets, and the rows that are trained on them."""
    path = clone / "datasets" / "div8k.yaml"
    manifest = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(manifest | {"sources": manifest["sources"][1:]}))
    drop(clone, "ffhq-10k", "reallq250")
    absent = {"reallr200-full", "div8k"}  # without its first source the latter is by hand alone, too
    done = snakemake(clone, "-n", "--cores", "all", "--profile", "slurm")
    assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == expected_jobs(clone, "paper", absent=absent)
    for name in absent:
        assert len(re.findall(f": {name}: put the images into datasets/{name}/", done.stdout)) == 1
    rows = ", ".join(
        f"dit4sr-{arm}-s{seed}" for arm in ("baseline", "framer_paper", "framer_released") for seed in range(3)
    )
    assert f"n/a in the tables: {rows}: training needs div8k" in done.stdout


def test_with_nothing_brought_by_hand_bicubic_is_left(clone: Path) -> None:
    done = snakemake(clone, "-n", "--cores", "all")
    planned = {
        "all": 1,
        "fetch": 2,
        "bicubic": 2,
        "score": 4,
        "weights": 5,
        "figures": 1,
        "tables": 1,
        "report": 1,
        "total": 17,
    }
    assert (done.returncode, jobs(done.stdout)) == (0, planned)


def test_a_strict_study_refuses_an_absent_set_in_one_line(clone: Path) -> None:
    path = clone / "config" / "paper.yaml"
    path.write_text(path.read_text() + "\nstrict: true\n")
    done = snakemake(clone, "-n", "--cores", "1")
    assert done.returncode == 1
    assert re.search(
        r"^config/paper.yaml: strict: a set is absent: \S+: put the images into .*$", done.stdout, re.MULTILINE
    )


def test_studies_do_not_leak_into_each_other(clone: Path) -> None:
    """The other study may be broken, absent or full of keys: only the one that is asked for is read."""
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
    command = [sys.executable, "-m", "snakefmt.snakefmt", "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_studies_span_what_the_tables_need() -> None:
    study = Study.load(ROOT / "config" / "paper.yaml", ROOT / "datasets")
    assert study.config.sets == ["realsr-crop128", "drealsr-crop128", "reallr200-full", "reallq250"]
    assert study.config.metrics == ["psnr", "ssim", "lpips", "niqe", "maniqa", "musiq"]
    assert len(study.config.seeds) >= 3
