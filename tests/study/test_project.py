"""A project folder: what it holds, what is refused, and that a study runs in it from a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from framer.errors import UserError
from framer.study.project import create, project_files
from framer.study.study import Study
from tests.fixtures.clone import ROOT


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_has_the_tracked_files_of_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git clone; clone the repository")
    folders = (
        "Snakefile",
        "workflow/",
        "config/",
        "datasets/",
        "weights/",
        "methods/",
        "results/",
        "slurm/",
        "environment.",
    )
    tracked = {name for name in listed.stdout.splitlines() if name.startswith(folders)}
    assert {*project_files()} >= tracked | {"requirements.lock"}
    create(tmp_path / "new", "mine")
    monkeypatch.chdir(tmp_path / "new")
    study = Study.load(Path("config/mine.yaml"))
    assert study.config.title == "mine" and len(study.runs) == 6


def test_only_an_empty_folder_is_filled_and_a_begun_one_completed(tmp_path: Path) -> None:
    create(tmp_path / "a", "mine")
    whole = tree(tmp_path / "a")
    (tmp_path / "a/config/mine.yaml").unlink()
    (tmp_path / "a/Snakefile").unlink()
    create(tmp_path / "a", "mine")
    assert tree(tmp_path / "a") == whole

    (tmp_path / "b/config").mkdir(parents=True)
    (tmp_path / "b/config/paper.yaml").write_text("mine")
    for folder, name, code in ((tmp_path / "b", "mine", "refused"), (tmp_path / "c", "paper", "conflict")):
        before = tree(folder)
        with pytest.raises(UserError) as error:
            create(folder, name)
        assert error.value.code == code and tree(folder) == before


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel of this tree unpacks to."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    zipfile.ZipFile(next(out.glob("*.whl"))).extractall(out / "site")
    return out / "site"


@pytest.mark.slow
def test_a_study_from_a_wheel_to_its_table(wheel: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(wheel), "PATH": path}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    located = run(sys.executable, "-c", "import framer; print(framer.__file__)")
    assert located.startswith(str(wheel))
    run("framer", "init", "mine")
    file = tmp_path / "config/mine.yaml"
    text = file.read_text().replace("seeds: [0, 1, 2]", "seeds: [0]")
    for steps in ("steps: 200", "steps: 120", "steps: 30"):
        text = text.replace(steps, "steps: 2")
    file.write_text(text.replace("warmup: 20", "warmup: 1").replace("warmup: 5", "warmup: 1"))
    run("snakemake", "--cores", "2", "--config", "study=mine")
    table = (tmp_path / "results/mine/tables/main.md").read_text()
    assert "FRAMER" in table and "n/a" not in table.split("| Bicubic")[1].splitlines()[0]
    assert "Nothing to be done" in run("snakemake", "--cores", "2", "--config", "study=mine")
