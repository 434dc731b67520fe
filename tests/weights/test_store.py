"""The folder of weights: one for everything, and the hashes of what lies in it."""

import ast
import hashlib
from pathlib import Path

import pytest
import yaml

import framer
from framer.errors import UserError
from framer.weights import manifest as manifest_module
from framer.weights import store
from framer.weights.manifest import WeightsManifest
from framer.weights.store import CACHE, files, hashes, missing, pipeline, verified
from framer.weights.store import folder as weights_folder
from tests.fixtures.clone import ROOT
from tests.fixtures.snakemake import snakemake


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRAMER_WEIGHTS", str(tmp_path))
    (tmp_path / "hub").mkdir()
    return tmp_path


def test_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        monkeypatch.delenv("FRAMER_WEIGHTS", raising=False)
        if value is not None:
            monkeypatch.setenv("FRAMER_WEIGHTS", value)
        assert weights_folder() == Path("weights")
        assert pipeline("a/b.c") == Path("weights/a--b.c")


def test_nothing_else_reads_the_variable() -> None:
    """A second reader would be a second folder as soon as one of them changes."""
    package = Path(framer.__file__).parent
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == "FRAMER_WEIGHTS"
    }
    assert readers == {"weights/store.py"}


def test_the_workflow_reads_and_writes_the_same_folder(clone: Path, tmp_path: Path) -> None:
    """Bases are fetched into it and trained on from it, wherever it is."""
    elsewhere = tmp_path / "elsewhere"
    for name in ("reallr200-full", "reallq250", "ffhq-10k"):
        (clone / "datasets" / name).mkdir()
        (clone / "datasets" / name / "images.zip").touch()
    done = snakemake(clone, "-n", "-p", "--cores", "1", FRAMER_WEIGHTS=str(elsewhere))
    text = done.stdout
    assert done.returncode == 0, text
    for name in ("stable-diffusion-2-1-base", "stable-diffusion-3.5-medium"):
        assert f"Missing output files: {elsewhere}/stabilityai--{name}/card.json" in text
        assert f"framer fetch --weights stabilityai/{name} " in text
        assert f"--base {elsewhere}/stabilityai--{name} " in text
    assert not [word for word in text.split() if word.startswith("weights/")]


def test_a_file_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = store.sha256_file
    monkeypatch.setattr(store, "sha256_file", lambda path: calls.append(path.name) or real(path))
    names = ["hub/a.pth", "hub/b.pth"]
    for name in names:
        (folder / name).write_bytes(b"x")
    for _ in range(2):
        hashes(names)
    assert calls == ["a.pth", "b.pth"]
    (folder / CACHE).write_text("[]")
    hashes(names)
    assert len(calls) == 4, "a damaged list of hashes is made again"


@pytest.fixture
def manifests(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Write manifests `weights/ID.yaml` of files with the hashes that they shall have."""
    monkeypatch.chdir(folder)
    (folder / "weights").mkdir()

    def write(name: str, hashes: dict[str, str | None]) -> None:
        listed = [{"path": path, "at": [f"hf://a/b/{path}"], "sha256": sha256} for path, sha256 in hashes.items()]
        manifest = {"id": name, "title": name, "license": "none", "gated": False, "files": listed}
        (folder / f"weights/{name}.yaml").write_text(yaml.safe_dump(manifest))

    return write


def test_hashes_are_checked_against_manifests(folder: Path, manifests) -> None:
    """Digits in a file's name mean nothing."""
    content = b"some weights"
    digest = hashlib.sha256(content).hexdigest()
    good, silent = "hub/net-00000000.pth", "hub/net.mat"
    for name in (good, silent):
        (folder / name).write_bytes(content)
    manifests("good", {good: digest[:8], silent: None})
    manifests("bad", {good: "0" * 8})
    manifests("half", {good: digest, "hub/none.pth": None})
    assert files(["half", "good"]) == [good, silent, "hub/none.pth"]
    assert verified(["good"]) == {good: digest, silent: digest}
    assert missing(["good", "half"]) == {"half": ["hub/none.pth"]}
    with pytest.raises(UserError) as error:
        verified(["good", "bad"])
    assert (error.value.path, error.value.code) == (str(folder / good), "mismatch")
    assert error.value.message.endswith("framer fetch --weights bad")


def test_a_manifest_is_read_once_per_process_and_again_when_it_changes(folder: Path, manifests, monkeypatch) -> None:
    read = []
    real = manifest_module.read_model
    monkeypatch.setattr(manifest_module, "read_model", lambda path, model: read.append(path.stem) or real(path, model))
    manifests("one", {"hub/a.pth": None})
    manifests("two", {"hub/b.pth": None})
    for _ in range(3):
        assert missing(["one", "two"]).keys() == {"one", "two"}
    assert read == ["one", "two"]
    manifests("two", {"hub/a.pth": None, "hub/c.pth": "0" * 64})
    assert files(["one", "two"]) == ["hub/a.pth", "hub/c.pth"]
    assert read == ["one", "two", "two"]


def test_outside_a_repository_the_manifests_of_the_installation_are_used(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    assert files(["niqe"]) == ["hub/pyiqa/niqe_modelparameters.mat"]


def test_manifests_that_share_a_file_state_one_hash_of_it() -> None:
    manifests = [WeightsManifest.load(name, ROOT / "weights") for name in WeightsManifest.known(ROOT / "weights")]
    stated: dict[str, set] = {}
    for manifest in manifests:
        for file in manifest.files:
            stated.setdefault(file.path, set()).add(file.sha256)
    assert len(stated) < sum(len(manifest.files) for manifest in manifests)
    assert all(len(hashes) == 1 for hashes in stated.values())
