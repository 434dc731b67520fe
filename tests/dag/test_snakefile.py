"""The Snakefile as Snakemake sees it: dry runs of real Snakemake processes in a copy of the workflow."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from framer.method import Recipe
from framer.study.study import Study
from tests.fixtures.clone import ROOT
from tests.fixtures.processes import run_module
from tests.fixtures.snakemake import jobs, snakemake

PAPER_SETS = ["realsr-crop128", "drealsr-crop128", "reallr200-full", "reallq250"]


METRIC_WEIGHTS = {
    "framer": {"lpips-alex", "niqe", "maniqa-koniq", "musiq-koniq"},
    "osediff": {"lpips-alex", "niqe", "maniqa-pipal", "musiq-koniq"},
}
"""Of the six metrics; a tiny study fetches none."""


def expected_jobs(root: Path, name: str, absent: set[str] = frozenset()) -> dict[str, int]:
    """Job counts from the study file alone, by counting; `absent` names sets, weights and ARM/SET of images."""
    config = yaml.safe_load((root / "config" / f"{name}.yaml").read_text())
    manifests = {path.stem: yaml.safe_load(path.read_text()) for path in (root / "datasets").glob("*.yaml")}
    backbones, arms, every = config["backbones"], dict(config["arms"]), list(Recipe.names())
    for key, ablation in config.get("ablations", {}).items():
        have = {arm.get("recipe") for arm in arms.values() if arm.get("backbone") == key}
        recipes = every if ablation["recipes"] == "all" else ablation["recipes"]
        for arm in [arm for arm in arms.values() if arm.get("backbone") == key]:
            covers = all({*ablation.get(of, config[of])} <= {*arm.get(of, config[of])} for of in ("seeds", "sets"))
            if covers and not {"recipe", "settings", "untrained", "checkpoint"} & {*arm}:
                have.add("noise_only")  # a loss of zero: the baseline's own training
        arms |= {f"{key} {recipe}": {**ablation, "backbone": key, "recipe": recipe} for recipe in set(recipes) - have}
    trainable = {key for key, value in backbones.items() if not absent & {*value["data"]["sets"]}}
    sets = [item for item in config["sets"] if item not in absent]
    counts = Counter(all=1, figures=1, tables=1, report=1)
    bases, weights, data, captioned, encoded, released = set(), set(), {*sets}, set(), set(), set()

    def based(backbone: str, untrained: bool) -> None:
        own = backbones[backbone]["base"] == "tiny"
        (bases if own else weights).add(
            (backbone, untrained) if own else backbones[backbone]["base"].replace("/", "--")
        )

    for key, arm in arms.items():
        backbone = (arms[arm["of"]] if "of" in arm else arm).get("backbone")
        tested = [item for item in arm.get("sets", sets) if item in sets]
        if arm.get("images"):
            tested = [item for item in tested if f"{key}/{item}" not in absent]
        seeds = len(arm.get("seeds", [0] if "checkpoint" in arm else config["seeds"])) if backbone else 1
        if "checkpoint" in arm and arm["checkpoint"] not in absent:
            counts["release"] += 1
            released |= {arm["checkpoint"]} - {"pisa_sr"}  # which is brought by hand
            based(backbone, False)
        elif "checkpoint" in arm or (backbone and backbone not in trainable):
            continue
        elif backbone and "of" not in arm:
            counts["train"] += seeds
            based(backbone, bool(arm.get("untrained")))
            data |= {*backbones[backbone]["data"]["sets"], *([config["heldout"]["set"]] if "heldout" in config else [])}
            if backbones[backbone]["data"].get("encode") and not arm.get("untrained"):
                encoded.add(backbone)
        captions = backbones[backbone].get("captions", {}) if backbone else {}
        if captions:
            weights.add(captions["model"].replace("/", "--"))
            captioned |= {
                (captions["model"], item) for item in backbones[backbone]["data"]["sets"] if "checkpoint" not in arm
            }
            captioned |= {(captions["model"], item) for item in tested if captions.get("restoring", True)}
        counts["restore" if backbone else "supplied" if arm.get("images") else "bicubic"] += seeds * len(tested)
        counts["score"] += seeds * len(tested)
    degraded = {item for item in data if manifests[item]["sources"][0]["kind"] == "degraded"}
    data |= {manifests[item]["sources"][0]["of"] for item in degraded}
    counts |= {"fetch": len(data - degraded), "degrade": len(degraded), "pretrain": len(bases), "base": len(weights)}
    counts |= {"caption": len(captioned), "encode": len(encoded)}
    if analysis := config.get("analysis"):
        analysed = [
            key
            for key in trainable
            if any(arm.get("backbone") == key and "checkpoint" not in arm for arm in arms.values())
        ]
        counts["analyse"] = len(analysed) if analysis["set"] not in absent else 0
        counts["cost"] = int("cost" in analysis and bool(analysed))
    if len(trained_bases := {value["base"] for value in backbones.values()}) > 1 or trained_bases != {"tiny"}:
        files = set().union(*(METRIC_WEIGHTS[protocol] for protocol in config["protocols"]))
        files |= {"lpips-vgg"} if counts["train"] and "pisa_sr" in trainable else set()
        counts["weights"] = len(files | released)
    return {rule: count for rule, count in counts.items() if count} | {"total": sum(counts.values())}


def test_smoke_plans_what_its_file_says(clone: Path) -> None:
    done = snakemake(clone, "-n", "--cores", "2", "--config", "study=smoke")
    assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == expected_jobs(clone, "smoke")


BY_HAND = {"reallr200-full", "reallq250", "ffhq-10k"}
OTHERS = [f"{arm}/{name}" for arm in ("swinir", "resshift", "seesr", "dreamclear") for name in PAPER_SETS]


def drop(root: Path, *names: str) -> None:
    """Bring by hand sets, each as an archive, images of others or weights; a dry run does not look into them."""
    for name in names:
        folder = f"supplied/{name}" if "/" in name else f"weights/{name}" if name == "pisa_sr" else f"datasets/{name}"
        (root / folder).mkdir(parents=True)
        (root / folder / ("pisa_sr.pkl" if name == "pisa_sr" else "images.zip")).touch()


def test_the_command_as_typed_plans_the_paper_on_slurm(clone: Path) -> None:
    drop(clone, *BY_HAND, *OTHERS, "pisa_sr")
    done = snakemake(clone, "-n", "--cores", "all", "--profile", "slurm")
    assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == expected_jobs(clone, "paper")
    assert "n/a in the tables" not in done.stdout


def test_what_is_absent_is_named_and_the_rest_is_planned(clone: Path) -> None:
    """Test sets, training sets and the rows that are trained on them, published weights, images of others."""
    path = clone / "datasets" / "div8k.yaml"
    manifest = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(manifest | {"sources": manifest["sources"][1:]}))
    drop(clone, "ffhq-10k", "reallq250", "seesr/realsr-crop128")
    absent = {"reallr200-full", "div8k"}  # without its first source the latter is by hand alone, too
    others = {*OTHERS} - {"seesr/realsr-crop128"}
    done = snakemake(clone, "-n", "--cores", "all", "--profile", "slurm")
    assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == expected_jobs(clone, "paper", absent=absent | others | {"pisa_sr"})
    for name in absent:
        assert len(re.findall(f": {name}: put the images into datasets/{name}/", done.stdout)) == 1
    assert re.search(r"n/a in the tables: dit4sr-baseline-s0, .*: training needs div8k", done.stdout)
    assert "n/a in the tables: pisa_sr: download weights/pisa_sr/pisa_sr.pkl manually" in done.stdout
    assert len(re.findall("n/a in the tables: images of ", done.stdout)) == 4
    seesr = " and ".join(f"supplied/seesr/{name}/" for name in PAPER_SETS if name != "realsr-crop128")
    assert f"images of SeeSR: put them, named as the LR images, into {seesr}\n" in done.stdout


@pytest.mark.parametrize("name", ["micro", "single-gpu"])
def test_the_other_studies_plan_what_their_files_say(clone: Path, name: str) -> None:
    done = snakemake(clone, "-n", "--cores", "2", "--config", f"study={name}")
    assert done.returncode == 0, done.stdout
    assert jobs(done.stdout) == expected_jobs(clone, name, absent={"pisa_sr", "swinir/photos-crop128"})


def test_with_nothing_brought_by_hand_the_published_weights_are_left(clone: Path) -> None:
    done = snakemake(clone, "-n", "--cores", "all")
    assert done.returncode == 0, done.stdout
    assert "InputFunctionException" not in done.stdout
    gated = re.findall(r"^Gated: (\S+): accept its terms on the hub and set HF_TOKEN", done.stdout, re.MULTILINE)
    assert gated == ["stabilityai/stable-diffusion-3.5-medium", "lsdir"]
    assert jobs(done.stdout) == expected_jobs(clone, "paper", absent={*BY_HAND, *OTHERS, "pisa_sr"})


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
        (["--config", "study=config/smoke.yaml"], "--config study=config/smoke.yaml: give the name of the study alone"),
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
