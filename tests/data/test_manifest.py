import subprocess
import sys
from pathlib import Path

import pytest

from framer.data.manifest import Manifest
from framer.errors import UserError
from tests.fixtures.clone import ROOT

IDS = sorted(path.stem for path in (ROOT / "datasets").glob("*.yaml"))


def edited(datasets: Path, name: str, old: str, new: str) -> str:
    """The message about a manifest in which one piece of text was replaced."""
    path = datasets / f"{name}.yaml"
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        Manifest.load(name, datasets)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", IDS)
def test_every_manifest_of_the_project_is_valid(name):
    manifest = Manifest.load(name, ROOT / "datasets")
    assert manifest.id == name
    if manifest.derived_from:
        origin = Manifest.load(manifest.derived_from, ROOT / "datasets")
        assert manifest.sources[0].split in origin.folders
        held_out = (
            "heldout" in name
        )  # weights are chosen by these; a study that trains on their photographs refuses them
        assert held_out or manifest.sources[0].split != origin.training_folder


def test_the_sets_of_the_paper_are_there():
    assert {"realsr-crop128", "drealsr-crop128", "reallr200-full", "reallq250"} <= set(IDS)
    assert [Manifest.load(name, ROOT / "datasets").count for name in ("realsr-crop128", "drealsr-crop128")] == [100, 93]


def test_folders_follow_from_the_source(datasets):
    folders = {name: Manifest.load(name, datasets).folders for name in IDS}
    assert folders["photos"] == ("train", "test")
    assert folders["photos-crop128"] == folders["realsr-crop128"] == ("LR", "HR")
    assert folders["reallr200-full"] == ("LR",)
    assert folders["div2k"] == ("HR",)


def test_training_folders(datasets):
    training = {name: Manifest.load(name, datasets).training_folder for name in IDS}
    assert training["photos"] == "train"
    assert training["div2k"] == "HR"
    assert training["realsr-crop128"] is training["photos-crop128"] is training["reallq250"] is None


def test_an_unknown_set_names_the_asker_and_the_nearest(datasets):
    with pytest.raises(
        UserError, match=r"^config/mine\.yaml: sets: unknown set 'fotos', did you mean 'photos'\? known: "
    ):
        Manifest.load("fotos", datasets, where="config/mine.yaml: sets")
    with pytest.raises(UserError, match=r"unknown set '\.\./datasets/photos'"):
        Manifest.load("../datasets/photos", datasets)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("photos", "paired:", "pared:", "unknown key 'pared', did you mean 'paired'?"),
        (
            "realsr-crop128",
            "size: 3055396861\n        sha",
            "sizes: 3\n        sha",
            "sources.0.archive.files.0: unknown key",
        ),
        ("photos", "license:", "licence:", "the key 'licence' is now named 'license'; rename it"),
        ("reallq250", "note:", "notes:", "sources.0.manual: unknown key 'notes'"),
        ("realsr-crop128", "kind: archive", "kind: arcive", "sources.0: Input tag 'arcive'"),
        ("realsr-crop128", "hf://datasets/Iceclear/", "hf://datasets/", "sources.0.archive.files.0.at.0: "),
        ("realsr-crop128", "sha256: 32a6", "sha256: x", "sources.0.archive.files.0.sha256: "),
        (
            "realsr-crop128",
            "  HR:\n    Canon_001_LR4.png: ",
            "  HR:\n    Canon_001_LR4.png: x",
            "images.HR.Canon_001_LR4.png: ",
        ),
        (
            "realsr-crop128",
            "    folders: [LR, HR]\n    members",
            "    folders: [LR]\n    members",
            "sources.2: its folders",
        ),
        ("reallr200-full", "001..200", "001..199", "count: 200, but 199 images are listed"),
        ("realsr-crop128", "paired: true", "paired: false", "paired: false does not fit folders LR, HR"),
        ("realsr-crop128", "count: 100", "count: '100'", "count: "),
        ("photos", "count: 13", "count: 14", "count: 14, but 13 images are listed"),
        ("photos", "chelsea.png", "camera.png", "sources.0.embedded: splits: camera is there twice"),
        ("photos", "chelsea.png", "../chelsea.png", "sources.0.embedded.splits.test.../chelsea.png"),
        (
            "photos-crop128",
            "preset: ",
            "preset: x",
            "sources.0.degraded: preset: unknown degradation preset 'x",
        ),
        ("photos", "id: photos", "id: pictures", "id: 'pictures' is not the file's name"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(datasets, name, old, new, message):
    assert edited(datasets, name, old, new).startswith(message)


def test_null_is_allowed_for_a_count_only_explicitly(datasets):
    assert Manifest.load("div8k", datasets).count is None
    assert "count: Field required" in edited(datasets, "div8k", "count: null\n", "")


def test_no_torch_is_imported():
    code = "import sys, framer.data.manifest, framer.data.images, framer.data.fetch; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
