"""A training replaces what a training of its kind wrote, and nothing else."""

import shutil
from pathlib import Path

import pytest

from framer.data.images import write_index
from framer.errors import UserError
from framer.provenance.cards import write_card
from framer.training.options import Session
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import base_job, run_job, train_here
from tests.fixtures.untrained import write_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An untrained base, a run on it, and photographs."""
    root = tmp_path_factory.mktemp("root")
    write_run(root, "pisa_sr")
    write_photographs(root)
    write_index(root / "photos", ["0.png", "1.png"])
    write_card(root / "photos", "images", ["index.csv"], set="photos", source={})
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "root")
    (tmp_path / "root/notes").mkdir()
    (tmp_path / "root/notes/model.safetensors").write_text("mine")
    return tmp_path / "root"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("job", "out"),
    [
        *((run_job("pisa_sr", 1, None), out) for out in ("bases/pisa_sr", "bases", "photos", "pairs/LR", "notes", ".")),
        *((base_job("pisa_sr", 1), out) for out in ("runs/pisa_sr", "photos", "photos/new", "notes")),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_inputs_and_files_of_others_are_kept(root: Path, job, out: str) -> None:
    before = contents(root)
    with pytest.raises(UserError) as caught:
        train_here(root, job, root / out, Session(progress=False))
    assert caught.value.code == "refused"
    assert contents(root) == before
