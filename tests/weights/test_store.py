"""The folder of weights: one for everything, and the hashes of what lies in it."""

import ast
import hashlib
from pathlib import Path

import pytest

import framer
from framer.errors import UserError
from framer.weights import store
from framer.weights.manifest import WeightsManifest
from framer.weights.store import CACHE, PUBLISHED, hashes, missing, pipeline, stated, verified
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
    assert readers == {"weights.py"}


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


def test_hashes_are_checked_against_names(folder: Path) -> None:
    content = b"some weights"
    digest = hashlib.sha256(content).hexdigest()
    good, bad, silent = f"hub/net-{digest[:8]}.pth", "hub/net-00000000.pth", "hub/net.mat"
    for name in (good, bad, silent):
        (folder / name).write_bytes(content)
    assert verified([good, silent]) == {good: digest, silent: digest}
    assert missing([good, "hub/none"]) == ["hub/none"]
    with pytest.raises(UserError, match=r"net-00000000\.pth.*fetch it again"):
        verified([bad])


def test_manifests_state_the_hashes_that_are_checked() -> None:
    """They are written down twice, since scoring needs no repository: never apart."""
    manifests = [WeightsManifest.load(name, ROOT / "weights") for name in WeightsManifest.known(ROOT / "weights")]
    files = [file for manifest in manifests for file in manifest.files if file.path.startswith("hub/")]
    assert {file.path for file in files} >= PUBLISHED.keys()
    for file in files:
        assert (file.sha256 or "") == stated(file.path), file.path
