"""Fingerprints see code, and only code. Each case edits a copy of the package and asks a fresh interpreter."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import framer

PACKAGE = Path(framer.__file__).parent
ASK = """
import json, sys
from framer.fingerprint import fingerprint
backbones = {name: fingerprint("train", f"framer.backbones.{name}") for name in ("pisa_sr", "dit4sr")}
backbones |= {f"restore {name}": fingerprint("restore", f"framer.backbones.{name}") for name in ("pisa_sr", "dit4sr")}
print(json.dumps(backbones | {name: fingerprint(name) for name in ("degrade", "restore", "score", "tables")}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "framer", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def ask(root: Path, python: str = sys.executable) -> dict[str, str]:
    done = subprocess.run([python, "-c", ASK], cwd=root, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def edit(root: Path, module: str, change) -> None:
    path = root / "framer" / module
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_comments_docstrings_and_formatting_do_not_count(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "scoring/score.py", lambda text: "# a comment\n\n" + text + "\n\n# another\n")
    edit(copy, "scoring/score.py", lambda text: re.sub(r'"""(.)', r'"""Changed. \1', text))
    edit(copy, "engine/train.py", lambda text: text.replace("(\n", "(  # why\n"))
    edit(copy, "backbones/base.py", lambda text: text.replace('"""What a backbone must', '"""All that a backbone must'))
    assert changed(before, ask(copy)) == set()


def test_a_line_of_scoring_code_marks_scoring_alone(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "scoring/score.py", lambda text: text + "\nADDED = 1\n")
    assert changed(before, ask(copy)) == {"score"}


def test_scoring_protocols_train_nothing_again(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "scoring/protocols.py", lambda text: text + "\nADDED = 1\n")
    assert changed(before, ask(copy)) == {"score", "tables"}


def test_what_resolves_settings_does_not_count(copy: Path) -> None:
    """Settings are compared by value."""
    before = ask(copy)
    edit(copy, "schema.py", lambda text: text + "\nADDED = 1\n")
    edit(copy, "study.py", lambda text: text + "\nADDED = 1\n")
    assert changed(before, ask(copy)) == set()


def test_an_indirect_import_counts(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "data/images.py", lambda text: text + "\nADDED = 1\n")
    assert {"degrade", "restore", "score"} <= changed(before, ask(copy))


def test_a_backbone_marks_its_own_runs_alone(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "backbones/dit4sr.py", lambda text: text + "\nADDED = 1\n")
    assert changed(before, ask(copy)) == {"dit4sr", "restore dit4sr"}


@pytest.mark.parametrize("module", ["loss", "features", "bands", "heads", "taps", "prediction", "recipe"])
def test_the_method_marks_training(copy: Path, module: str) -> None:
    before = ask(copy)
    edit(copy, f"method/{module}.py", lambda text: text + "\nADDED = 1\n")
    after = changed(before, ask(copy))
    assert {"pisa_sr", "dit4sr"} <= after
    assert not {"score", "degrade"} & after


def test_the_loss_restores_nothing_again(copy: Path) -> None:
    """The released claim is that it costs nothing after training: its code is no part of restoring."""
    before = ask(copy)
    edit(copy, "method/loss.py", lambda text: text + "\nADDED = 1\n")
    assert changed(before, ask(copy)) == {"pisa_sr", "dit4sr"}


def test_the_command_itself_and_its_arguments_count(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "commands/scores.py", lambda text: text.replace('arg("--sr", type=Path', 'arg("--sr", type=str'))
    assert changed(before, ask(copy)) == {"score"}


@pytest.mark.parametrize(("module", "counts"), [("heads", True), ("taps", True), ("analysis", False)])
def test_what_a_package_loads_on_first_use_counts(copy: Path, module: str, counts: bool) -> None:
    """`framer.method` gives `record` without importing it: a backbone that lies elsewhere takes it from there."""
    (copy / "mine.py").write_text("from framer.method import AlignmentHeads, record\n")
    code = "from framer.provenance.code import fingerprint; print(fingerprint('restore', 'mine'))"
    found = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=True)
        found.append(done.stdout)
        edit(copy, f"method/{module}.py", lambda text: text + "\nADDED = 1\n")
    assert (found[0] != found[1]) == counts


def test_estimates_of_speed_make_nothing_again(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "plan/speeds.yaml", lambda text: text.replace("start: 20", "start: 30"))
    assert changed(before, ask(copy)) == set()


def test_a_template_counts(copy: Path) -> None:
    before = ask(copy)
    template = next((copy / "framer" / "report").glob("*.j2"))
    template.write_text(template.read_text() + "<!-- -->")
    assert "score" not in changed(before, ask(copy))
    assert "tables" in changed(before, ask(copy))


def test_every_python_agrees(copy: Path) -> None:
    others = {shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14)} - {None, sys.executable}
    running = {path for path in others if _runs(path)}
    if not running:
        pytest.skip("no other Python on this machine")
    expected = ask(copy)
    for python in running:
        assert ask(copy, python) == expected, python


def _runs(python: str) -> bool:
    done = subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], capture_output=True)
    return done.returncode == 0
