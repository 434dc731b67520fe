"""Imports point one way, torch stays where tensors are, and files and classes are short."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import framer
from tests.fixtures.clone import ROOT

PACKAGE = Path(framer.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE.parent).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))
MODULES = [name.replace("/", ".").removesuffix(".__init__") for name in MODULES]

LAYERS = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
"""Each imports from those before it alone. The modules at the root of the package are in it like packages."""
WITHOUT_TORCH = [
    "framer",
    "framer.cli",
    "framer.study.study",
    "framer.dag.scope",
    "framer.dag.targets",
    "framer.dag.plan",
    "framer.study.analysis_jobs",
    "framer.training.launch",
    "framer.provenance.files",
    "framer.provenance.code",
    "framer.method.recipe",
    "framer.report.tables",
    "framer.report.page",
    "framer.report.figures",
]


def layer(module: str) -> int:
    """The place of a module in the order; `framer` itself gives the names of the method, `__main__` runs the CLI."""
    part = [*module.split("."), "method"][1]
    return LAYERS.index({"__main__": "cli"}.get(part, part))


def imports(module: str) -> set[str]:
    path = PACKAGE.parent / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    tree = ast.parse(path.read_text())
    for block in ast.walk(tree):  # what is imported for types alone is no import
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "framer":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "framer"}
    return found - {"framer"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    upward = {name for name in imports(module) if layer(name) > layer(module)}
    assert not upward


def test_there_are_no_circles() -> None:
    graph = {module: imports(module) & set(MODULES) for module in MODULES}
    while leaves := {module for module, needs in graph.items() if not needs - {module}}:
        graph = {module: needs - leaves for module, needs in graph.items() if module not in leaves}
    assert not graph


def test_the_method_stands_alone() -> None:
    needs = {name for module in MODULES if module.startswith("framer.method") for name in imports(module)}
    assert {name for name in needs if not name.startswith("framer.method")} <= {"framer.errors"}


def test_no_torch_where_no_tensors_are() -> None:
    code = f"import sys, {', '.join(WITHOUT_TORCH)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_part_has_its_place() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert set(LAYERS) == parts - {"__init__", "__main__"}
    assert len(LAYERS) == len(set(LAYERS))


def code(*suffixes: str) -> list[Path]:
    paths = [path for part in ("framer", "tests", "workflow", "bench") for path in (ROOT / part).rglob("*.*")]
    return [path for path in paths if path.suffix in suffixes]


def test_files_are_short() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in code(".py", ".smk", ".j2")}
    assert not {name for name, lines in lengths.items() if lines > 350}


def test_classes_are_small() -> None:
    sizes = {
        node.name: sum(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) for part in node.body)
        for path in code(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert not {name for name, methods in sizes.items() if methods >= 25}
