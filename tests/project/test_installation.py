"""The wheel without the extra `harness`, in an environment that has torch and what torch requires, and nothing else."""

import os
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fixtures.clone import ROOT


def closure(requirement: Requirement, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distributions that a requirement brings along, by name, its own among them."""
    installed = distribution(requirement.name)
    found[canonicalize_name(requirement.name)] = installed
    for text in installed.requires or []:
        needed = Requirement(text)
        asked = (
            any(needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras))
            if needed.marker
            else True
        )
        if asked and (needed.extras or canonicalize_name(needed.name) not in found):
            closure(needed, found)
    return found


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A new environment with torch and the wheel of this tree; the folder of its programs."""
    venv.create(tmp_path / "env", with_pip=True)
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    for installed in closure(Requirement("torch"), {}).values():
        for top in {file.parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(installed.locate_file(top))).resolve())
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path / "wheel"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").iterdir()
    programs = tmp_path / "env" / "bin"
    # Without --no-deps: pip finds that nothing but torch is required, and that it is there.
    run(programs / "pip", "install", "--no-index", "--disable-pip-version-check", str(wheel))
    return programs


def run(*command: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    folder = Path(command[0]).parent
    done = subprocess.run([str(part) for part in command], cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.slow
def test_torch_alone_is_enough_for_the_loss(environment: Path) -> None:
    assert run(environment / "pip", "check").stdout == "No broken requirements found.\n"
    listed = run(environment / "pip", "list", "--format", "freeze", "--disable-pip-version-check").stdout
    assert "framer==" in listed and "torch==" in listed
    assert not [name for name in ("numpy", "pydantic", "pyyaml", "pillow") if f"{name}==" in listed.lower()]

    program = """
import torch
from framer import FramerLoss, Recipe
from framer.method import Aligned, AlignmentHeads, analysis, compared, final_projection, record, to_x0

teacher, *students = torch.randn(4, 2, 4, 16, 16, requires_grad=True)
for name in ("paper", "released"):
    output = FramerLoss(Recipe.named(name))(students, teacher)
    output.loss.backward()
    assert output.loss > 0 and len(output.layers.rows()) > 1
"""
    run(environment / "python", "-c", program)

    for arguments in ([], ["--help"], ["doctor"], ["score", "--sr", "images"]):
        done = run(environment / "framer", *arguments, code=2)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("framer: error: ") and "'.[harness]'" in line
