"""A backbone in a package of its own goes through every stage, by its entry point alone.

`pixel_unet/` beside this file is all there is of it. It is installed as a user would install it.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from framer.backbones.registry import settings_class
from framer.cli import main
from framer.dag import triggers
from framer.dag.plan import Plan
from framer.dag.scope import Scope
from framer.data.images import list_images, read_rgb
from framer.errors import UserError
from framer.method.recipe import Recipe
from framer.provenance.cards import read_card, verify_payload
from framer.provenance.hashing import sha256_file
from framer.study.study import Study
from tests.fixtures.clone import ROOT

SOURCE = Path(__file__).parent / "pixel_unet"
OPTIMISATION = {"steps": 4, "batch": 2, "crop": 32, "lr": 1.0e-3}
STUDY = {
    "title": "A third backbone",
    "seed": 1,
    "sets": ["photos-crop128"],
    "protocols": ["osediff"],
    "metrics": ["psnr"],
    "backbones": {
        "pixel_unet": {
            "base": "tiny",
            "data": {"sets": ["photos"], "degradation": "lowlight"},
            "pretrain": OPTIMISATION,
            "train": {"decoder": OPTIMISATION},
            "settings": {"charbonnier": 0.01, "restore": {"strength": 0.9}},
        }
    },
    "arms": {
        "bicubic": {"label": "Bicubic"},
        "baseline": {"label": "U-Net", "backbone": "pixel_unet"},
        "framer": {"label": "FRAMER (U-Net)", "backbone": "pixel_unet", "recipe": "released"},
    },
}


def install(source: Path, site: Path) -> None:
    """Install a package into a folder, from a copy: a build may leave files beside its source."""
    command = [Path(sys.executable).with_name("uv"), "pip", "install", "--offline", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--python", sys.executable, "--target", site, source], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which the package is installed; on the path of this process, and of those that it starts."""
    root = tmp_path_factory.mktemp("third")
    shutil.copytree(SOURCE, root / "source")
    install(root / "source", root / "site")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "site")
        patch.setenv("PYTHONPATH", str(root / "site"), prepend=os.pathsep)
        yield root / "site"
    sys.modules.pop("pixel_unet", None)


@pytest.fixture(scope="module")
def study(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a baseline and a FRAMER run, made by the commands."""
    root = tmp_path_factory.mktemp("study")
    for folder in ("config", "datasets"):
        (root / folder).mkdir()
    for name in ("photos", "photos-crop128"):
        shutil.copy(ROOT / f"datasets/{name}.yaml", root / "datasets")
    (root / "config/third.yaml").write_text(yaml.safe_dump(STUDY))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        framer("fetch", "photos")
        framer("degrade", "photos-crop128")
        framer("pretrain", "--study", "config/third.yaml", "--base", "pixel_unet", "--out", "bases/pixel_unet")
        for arm in ("baseline", "framer"):
            options = ["--run", f"{arm}-s0", "--base", "bases/pixel_unet", "--out", f"runs/{arm}-s0"]
            framer("train", "--study", "config/third.yaml", *options)
    return root


def framer(*arguments: str) -> None:
    assert main(list(arguments)) == 0


def test_it_is_short() -> None:
    assert len((SOURCE / "pixel_unet.py").read_text().splitlines()) < 150


def test_it_is_trained_with_and_without_framer(study: Path) -> None:
    logs = {}
    for arm in ("baseline", "framer"):
        verify_payload(study / f"runs/{arm}-s0", read_card(study / f"runs/{arm}-s0", "run"))
        with (study / f"runs/{arm}-s0/log.csv").open() as file:
            logs[arm] = list(csv.DictReader(file))
    assert list(logs["framer"][0]) == ["stage", "step", "loss", "charbonnier", "framer", "lr", "gradient"]
    # Common random numbers: until the first update only FRAMER's own term tells the arms apart.
    assert logs["baseline"][0]["charbonnier"] == logs["framer"][0]["charbonnier"]
    weights = {arm: load_file(study / f"runs/{arm}-s0/model.safetensors") for arm in logs}
    assert all(name.startswith(("up_blocks.", "conv_norm_out.", "conv_out.")) for name in weights["framer"])
    assert any((weights["framer"][name] != tensor).any() for name, tensor in weights["baseline"].items())


def test_it_restores(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    lr = "datasets/photos-crop128/LR"
    for out, options in (("full", ()), ("none", ("--set", "strength=0"))):
        framer("restore", "--checkpoint", "runs/framer-s0", "--lr", lr, "--out", out, *options)
    framer("restore", "--checkpoint", "bicubic", "--lr", lr, "--out", "bicubic")
    for stem, path in list_images(Path(lr)).items():
        height, width, _ = read_rgb(path).shape
        assert read_rgb(Path(f"full/{stem}.png")).shape == (4 * height, 4 * width, 3)
        assert sha256_file(Path(f"full/{stem}.png")) != sha256_file(Path(f"bicubic/{stem}.png"))
        assert sha256_file(Path(f"none/{stem}.png")) == sha256_file(Path(f"bicubic/{stem}.png"))


def test_a_study_is_validated_by_its_settings(study: Path, tmp_path: Path) -> None:
    def load(**changes: object) -> Study:
        backbone = STUDY["backbones"]["pixel_unet"] | changes
        path = tmp_path / "third.yaml"
        path.write_text(yaml.safe_dump(STUDY | {"backbones": {"pixel_unet": backbone}}))
        return Study.load(path, study / "datasets")

    job = load().train_job("framer-s0")
    assert job.settings == {"charbonnier": 0.01} and job.recipe == Recipe.named("released")
    assert load().restore_job("framer-s0").settings == {"strength": 0.9}
    with pytest.raises(UserError, match=r"backbones\.pixel_unet\.settings: unknown key 'charb', did you mean 'charbo"):
        load(settings={"charb": 1.0})
    with pytest.raises(UserError, match=r"backbones\.pixel_unet\.train: unknown stage 'pixel'"):
        load(train={"pixel": OPTIMISATION})
    with pytest.raises(UserError, match=r"unknown backbone 'pixelunet', did you mean 'pixel_unet'"):
        settings_class("pixelunet")


def test_a_plan_says_that_its_speed_is_not_known(study: Path) -> None:
    scope = Scope(Study.load(study / "config/third.yaml", study / "datasets"), {})
    assert any("not known" in line for line in Plan(scope, study / "logs").table_lines(1))


ASK = """
import sys
from framer.provenance.code import fingerprint
print(*(fingerprint(command, sys.argv[1]) for command in ("train", "restore")))
"""


def fingerprints(site: Path, module: str = "pixel_unet") -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", ASK, module]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_its_code_is_part_of_the_fingerprint(site: Path, study: Path, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path / "site")
    module = tmp_path / "site/pixel_unet.py"
    before = fingerprints(tmp_path / "site")
    module.write_text(module.read_text().replace("# untrained", "# Untrained"))
    assert fingerprints(tmp_path / "site") == before
    module.write_text(module.read_text().replace("* 2 - 1", "* 2.0 - 1"))
    after = fingerprints(tmp_path / "site")
    assert after[0] != before[0] and after[1] != before[1]
    # The workflow asks for the same, under the name that the study uses.
    assert [triggers.code(command, "pixel_unet") for command in ("train", "restore")] == before


def test_of_a_package_all_that_is_imported_counts(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    for path, text in {
        "__init__.py": "",
        "model.py": "from . import parts\nfrom .sub import deep\nfrom framer.method import record\n",
        "parts.py": "WIDTH = 8\n",
        "sub/__init__.py": "",
        "sub/deep.py": "from ..parts import WIDTH\nfrom ..late import DEPTH\n",
        "late.py": "DEPTH = 1\n",
        "unused.py": "WIDTH = 8\n",
        "table.csv": "1,2\n",
    }.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)
    before = fingerprints(tmp_path, "mine.model")
    for path, counts in (("parts.py", True), ("late.py", True), ("table.csv", True), ("unused.py", False)):
        old = (package / path).read_text()
        (package / path).write_text(old + "3\n")
        assert (fingerprints(tmp_path, "mine.model") != before) == counts, path
        (package / path).write_text(old)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"one": "gone:Settings"}, r"backbone 'mine': gone:Settings cannot be imported \(No module named 'gone'\)"),
        ({"one": "pathlib:Path"}, r"backbone 'mine': pathlib:Path is no subclass of framer\.backbones\.settings\.Sett"),
        ({"one": "a:S", "two": "b:S"}, r"backbone 'mine': a:S and b:S have this name; uninstall one of them"),
    ],
)
def test_a_wrong_entry_point_is_one_line(
    entries: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in entries.items():
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[framer.backbones]\nmine = {value}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=message):
        settings_class("mine")


def test_a_module_without_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        fingerprints(tmp_path, "math")
    assert "math: no Python source was found" in failed.value.stderr
