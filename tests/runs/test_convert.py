"""A conversion replaces what a conversion wrote, and nothing else."""

import shutil
from pathlib import Path

import pytest

from framer.backbones.base import Backbone
from framer.cli import main
from framer.provenance.cards import read_card
from framer.runs.run_dir import load_run
from tests.fixtures.untrained import write_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("root")
    write_run(root, "pisa_sr")
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "root")
    return tmp_path / "root"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def convert(root: Path, form: str, out: Path, source: Path | None = None) -> int:
    source = source or root / "runs/pisa_sr"
    base = ["--base", str(root / "bases/pisa_sr")] if form == "run" else []
    return main(["convert", str(source), "--backbone", "pisa_sr", "--to", form, *base, "--out", str(out)])


def published(root: Path) -> Path:
    """The run's adapters as one file of published weights."""
    path = root / "published.safetensors"
    assert convert(root, "safetensors", path) == 0
    return path


@pytest.mark.parametrize("out", ["bases/pisa_sr", "bases", ".", "published.safetensors", "runs/pisa_sr/new", "notes"])
def test_inputs_and_files_of_others_are_kept(root: Path, capsys: pytest.CaptureFixture, out: str) -> None:
    source = published(root)
    (root / "notes").mkdir()
    (root / "notes/model.safetensors").write_text("mine")
    if out == "runs/pisa_sr/new":
        source = root / "runs/pisa_sr/model.safetensors"
    before = contents(root)
    assert convert(root, "run", root / out, source) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert contents(root) == before


def test_a_converted_run_replaces_the_one_of_before(root: Path) -> None:
    source, out = published(root), root / "runs/new"
    assert convert(root, "run", out, source) == 0
    first = contents(out)
    (out / ".notes").write_text("mine")
    assert convert(root, "run", out, source) == 0
    assert contents(out) == first | {".notes": b"mine"}
    model, card = load_run(out)
    assert isinstance(model, Backbone) and card == read_card(out, "run")


@pytest.mark.parametrize("form", ["safetensors", "peft"])
def test_an_export_replaces_nothing(root: Path, form: str) -> None:
    for out in (root / "runs/pisa_sr/model.safetensors", root / "notes.txt"):
        out.exists() or out.write_text("mine")
        before = contents(root)
        assert convert(root, form, out) == 2
        assert contents(root) == before
