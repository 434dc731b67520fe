"""Fingerprints see code, and only code. Each case edits a copy of the package and takes its fingerprints anew."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import framer
from framer.backbones.registry import SETTINGS, code_modules

PACKAGE = Path(framer.__file__).parent
LOADED = {
    f"{kind} {name}": (command, code_modules(name, framer=distilled))
    for name in SETTINGS
    for kind, command, distilled in (
        ("train", "train", False),
        ("distil", "train", True),
        ("restore", "restore", False),
        ("analyse", "analyse", True),
    )
}
"""What each job fingerprints: a command and the modules that it loads by name."""
PLAIN = ("degrade", "score", "tables")
BASELINES = {f"train {name}" for name in SETTINGS}
DISTILLED = {f"distil {name}" for name in SETTINGS}
RESTORED = {f"restore {name}" for name in SETTINGS}
ANALYSED = {f"analyse {name}" for name in SETTINGS}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "framer", ignore=shutil.ignore_patterns("*.pyc"))
    return tmp_path


def module_of(root: Path):
    """`framer.provenance.code` of the copy, with empty caches."""
    spec = importlib.util.spec_from_file_location("code_of_copy", root / "framer/provenance/code.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(root: Path) -> dict[str, str]:
    fingerprint = module_of(root).fingerprint
    loaded = {name: fingerprint(command, *modules) for name, (command, modules) in LOADED.items()}
    return loaded | {name: fingerprint(name) for name in PLAIN}


def edit(root: Path, module: str, change: Callable[[str], str]) -> None:
    path = root / "framer" / module
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def add(text: str) -> str:
    return text + "\nADDED = 1\n"


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_what_only_people_read_does_not_count(copy: Path) -> None:
    """Comments, docstrings, formatting, descriptions of settings, messages, and the wording of errors."""
    before = ask(copy)
    edit(copy, "scoring/folders.py", lambda text: "# a comment\n\n" + text + "\n\n# another\n")
    edit(copy, "scoring/folders.py", lambda text: re.sub(r'"""(.)', r'"""Changed. \1', text))
    edit(copy, "training/train.py", lambda text: text.replace("(\n", "(  # why\n"))
    edit(copy, "backbones/dit4sr/settings.py", lambda text: text.replace('description="', 'description="Reworded: '))
    edit(copy, "method/loss.py", lambda text: text.replace('UserError(f"', 'UserError(f"Reworded: '))
    edit(copy, "errors.py", lambda text: text.replace("hint} known: ", "hint} there are: "))
    edit(copy, "errors.py", add)
    assert changed(before, ask(copy)) == set()


def test_recipes_and_what_resolves_a_study_do_not_count(copy: Path) -> None:
    """Jobs carry what they resolve by value."""
    before = ask(copy)
    edit(copy, "method/recipes.py", lambda text: text.replace('"l2": {', '"mine": {"weight": 0.3},\n        "l2": {'))
    edit(copy, "study/schema.py", add)
    edit(copy, "study/study.py", add)
    assert changed(before, ask(copy)) == set()


def test_an_operator_of_the_loss_marks_what_uses_framer(copy: Path) -> None:
    """Neither baselines nor restoring: the loss costs nothing after training."""
    before = ask(copy)
    edit(copy, "method/loss.py", lambda text: text.replace("self.recipe.weight * (", "self.recipe.weight + (", 1))
    assert changed(before, ask(copy)) == DISTILLED | ANALYSED


@pytest.mark.parametrize("module", ["loss", "bands", "heads", "hooks", "prediction", "recipe", "spectrum"])
def test_no_module_of_the_method_marks_a_baseline(copy: Path, module: str) -> None:
    before = ask(copy)
    edit(copy, f"method/{module}.py", add)
    after = changed(before, ask(copy))
    assert after >= {"distil pisa_sr"}
    # The tables of sweeps mark the values of named recipes.
    assert after <= DISTILLED | ANALYSED | ({"tables"} if module == "recipe" else set())


@pytest.mark.parametrize("backbone", SETTINGS)
@pytest.mark.parametrize("module", ["model", "settings"])
def test_a_backbone_marks_its_own_jobs_alone(copy: Path, backbone: str, module: str) -> None:
    before = ask(copy)
    edit(copy, f"backbones/{backbone}/{module}.py", add)
    assert changed(before, ask(copy)) == {name for name in before if name.endswith(f" {backbone}")}


def test_the_layers_of_a_backbone_mark_what_uses_framer(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "backbones/dit4sr/layers.py", add)
    assert changed(before, ask(copy)) == {"distil dit4sr", "analyse dit4sr"}


def test_a_line_of_scoring_code_marks_scoring_alone(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "scoring/folders.py", add)
    assert changed(before, ask(copy)) == {"score"}


def test_scoring_protocols_train_nothing_again(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "scoring/protocols.py", add)
    assert changed(before, ask(copy)) == {"score", "tables"}


def test_an_indirect_import_counts(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "data/images.py", add)
    assert {"degrade", "score", *RESTORED, *BASELINES} <= changed(before, ask(copy))


def test_the_command_itself_and_its_arguments_count(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "commands/score.py", lambda text: text.replace('arg("--sr", type=Path', 'arg("--sr", type=str'))
    assert changed(before, ask(copy)) == {"score"}


def test_estimates_of_speed_make_nothing_again(copy: Path) -> None:
    before = ask(copy)
    edit(copy, "dag/speeds.yaml", lambda text: text.replace("start: 20", "start: 30"))
    assert changed(before, ask(copy)) == set()


def test_a_template_counts(copy: Path) -> None:
    before = ask(copy)
    template = next((copy / "framer" / "report").glob("*.j2"))
    template.write_text(template.read_text() + "<!-- -->")
    assert changed(before, ask(copy)) == {"tables"}


def test_what_was_parsed_is_kept_by_the_hash_of_the_source(copy: Path) -> None:
    cache = copy / "framer/__pycache__/fingerprints.json"
    before = ask(copy)
    for kept in (None, "[]", "{", '{"x": 1}'):
        cache.unlink()
        if kept is not None:  # a damaged cache is made again
            cache.write_text(kept)
        assert ask(copy) == before, kept
    parsed = []
    module = module_of(copy)
    module._parse = lambda path: parsed.append(path.name) or ast.parse(path.read_text())
    assert module.fingerprint("score") and set(parsed) == {path.name for path in copy.glob("framer/commands/*.py")}
    edit(copy, "scoring/psnr_ssim.py", add)
    assert changed(before, ask(copy)) == {"score"}


@pytest.mark.parametrize(("module", "counts"), [("heads", True), ("hooks", True), ("analysis", False)])
def test_what_a_package_loads_on_first_use_counts(
    copy: Path, monkeypatch: pytest.MonkeyPatch, module: str, counts: bool
) -> None:
    """`framer.method` gives `record` without importing it: a backbone that lies elsewhere takes it from there."""
    (copy / "elsewhere").mkdir()
    (copy / "elsewhere/mine.py").write_text("from framer.method import AlignmentHeads, record\n")
    monkeypatch.syspath_prepend(copy / "elsewhere")
    before = module_of(copy).fingerprint("restore", "mine")
    edit(copy, f"method/{module}.py", add)
    assert (before != module_of(copy).fingerprint("restore", "mine")) == counts


RAISED = 'def f(a, b):\n    raise ValueError(f"a {a}: {b:.3f}, " "end", key="k")\n'
LOGGED = 'import logging\nlog = logging.getLogger("x")\nlog.info("step %d", 3)\nlog.log(20, "text")\n'


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (RAISED, RAISED.replace("a {a}: ", "the value {a} is not "), False),
        (RAISED, RAISED.replace('" "end"', '"'), False),
        (RAISED, RAISED.replace('f"a {a}: {b:.3f}, " "end"', 'f"{a}" + f" {b:.3f}"'), False),
        (RAISED, RAISED.replace('f"a {a}', 'message=f"a {a}').replace("ValueError(", 'ValueError(key="k", ', 0), True),
        (RAISED, RAISED.replace("{a}: {b:.3f}", "{b:.3f}: {a}"), True),
        (RAISED, RAISED.replace("{a}", "{a + 1}"), True),
        (RAISED, RAISED.replace('key="k"', 'key="l"'), True),
        (RAISED, RAISED.replace("ValueError", "TypeError"), True),
        ('raise ValueError("a")\n', 'raise ValueError("b" "c")\n', False),
        ('raise ValueError("a", "b")\n', 'raise ValueError("a", "c")\n', True),
        ("raise ValueError(f\"{', '.join(a)} end\")\n", "raise ValueError(f\"{'; '.join(a)} end\")\n", True),
        ('f("a", description="b")\n', 'f("a", description="c" "d")\n', False),
        ('f("a", description="b")\n', 'f("a")\n', False),
        ('f("a", title="b")\n', 'f("a", title="c")\n', True),
        ('f("a")\n', 'f("b")\n', True),
        (LOGGED, LOGGED.replace("step %d", "at step %d").replace('"text"', '"other"'), False),
        (LOGGED, LOGGED.replace(", 3)", ", 4)"), True),
        (LOGGED, LOGGED.replace("20,", "30,"), True),
        (LOGGED.replace("logging.getLogger", "console"), LOGGED.replace("logging.getLogger", "console")[:-3], True),
        ('"""Docs."""\nCOLUMNS = ("a", "b")\n', '"""More."""\nCOLUMNS = ("a", "b")\n', False),
        ('COLUMNS = ("a", "b")\n', 'COLUMNS = ("a", "c")\n', True),
    ],
)
def test_the_text_of_messages(before: str, after: str, counts: bool) -> None:
    from framer.provenance.code import message_nodes, normal_form

    one, other = (ast.parse(text if text.endswith("\n") else 'other("text")\n') for text in (before, after))
    assert before != after
    assert (normal_form(one, message_nodes(one)) != normal_form(other, message_nodes(other))) == counts


def test_the_module_of_errors_computes_no_result() -> None:
    """It is in no fingerprint: it has exceptions and functions that give text, and imports nothing that computes."""
    tree = ast.parse((PACKAGE / "errors.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"difflib", "collections.abc", "os", "typing"}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            assert isinstance(node.returns, ast.Name) and node.returns.id == "str", f"{node.name} gives more than text"
        elif isinstance(node, ast.ClassDef):
            assert [base.id for base in node.bases] == ["Exception"]
            assert {item.name for item in node.body if isinstance(item, ast.FunctionDef)} <= {"__init__"}
        else:
            documented = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            literal = isinstance(node, ast.Assign) and [target.id for target in node.targets] in (
                ["Code"],
                ["MOST_LINE"],
                ["MOST_TEXT"],
            )
            assert documented or literal or isinstance(node, (ast.Import, ast.ImportFrom)), ast.unparse(node)


def test_exceptions_are_only_raised_caught_and_shown() -> None:
    """None is made but to be raised, here or by the caller that it is returned to."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        raised = {id(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("UserError", "TrainingInterrupted"):
                assert id(node) in raised or _handed_on(tree, node), f"{path}:{node.lineno}"


def _handed_on(tree: ast.AST, call: ast.Call) -> bool:
    """Whether a function returns the exception that it makes, for its caller to raise."""
    return any(isinstance(node, ast.Return) and node.value is call for node in ast.walk(tree))


ASK = """
import json, sys
from framer.provenance.code import fingerprint
jobs = json.loads(sys.argv[1])
print(json.dumps({name: fingerprint(command, *modules) for name, (command, modules) in jobs.items()}))
"""


def test_every_python_agrees(copy: Path) -> None:
    others = {shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14)} - {None, sys.executable}
    running = {path for path in others if _runs(path)}
    if not running:
        pytest.skip("no other Python on this machine")
    expected = {name: value for name, value in ask(copy).items() if name in LOADED}
    for python in running:
        command = [python, "-c", ASK, json.dumps(LOADED)]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == expected, python


def _runs(python: str) -> bool:
    done = subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], capture_output=True)
    return done.returncode == 0
