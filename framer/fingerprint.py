"""A fingerprint of the code that a command runs, so that Snakemake re-runs a job when its code changed.

Snakemake sees the text of a rule, not the modules behind it. A fingerprint is the hash of the syntax trees of one
command's function in `framer/commands` and of every module of this package that it imports, directly or not. Comments,
formatting and docstrings are not in a syntax tree's hash here, and neither is anything that depends on the Python
version: the submit host and a compute node agree.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent


@cache
def fingerprint(command: str, *modules: str) -> str:
    """Twelve hex digits that change when the code behind `framer COMMAND` does.

    Args:
        command: a command, as in `framer train`; its function in `framer/commands` has the same name.
        modules: dotted names of modules that the command loads by name, such as the backbone's.

    Raises:
        KeyError: no function of that name.
    """
    trees = [_parse(path) for path in sorted((PACKAGE / "commands").glob("*.py"))]
    functions = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    function = functions[command.replace("-", "_")]
    files = closure([*_imports(function, "framer.commands"), *modules])
    data = {file for path in files for file in path.parent.iterdir() if file.is_file() and file.suffix not in _CODE}
    parts = {"": normal_form(function)}
    parts |= {_name(path): normal_form(_parse(path)) for path in files}
    parts |= {_name(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in data}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


_CODE = {".py", ".pyc", ".pyi"}

# These turn a study file into settings. What they resolve is a job's parameters, which Snakemake compares by value, so
# their code does not count: a new metric in the schema must train nothing again.
_RESOLVED = {PACKAGE / name for name in ("study.py", "schema.py", "jobs.py", "analyses.py")}


def closure(modules: list[str]) -> set[Path]:
    """The files of this package behind some modules: theirs, their packages' and what those import."""
    files: set[Path] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        for path, dotted in _files(name):
            if path not in files and path not in _RESOLVED:
                files.add(path)
                queue += _imports(_parse(path), dotted)
    return files


def normal_form(node: Any) -> Any:
    """A syntax tree as nested lists without positions, docstrings and empty fields.

    Empty fields go because newer Pythons add fields (`type_params`), which are empty for older syntax.
    """
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind"]
        return [type(node).__name__, [[name, normal_form(value)] for name, value in fields]]
    if isinstance(node, list):
        return [normal_form(item) for item in node if not _is_documentation(item)]
    return node if isinstance(node, str) else [type(node).__name__, repr(node)]


def _is_documentation(node: Any) -> bool:
    """Whether a statement is a string alone: a docstring, of a module, a function, a class or an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=path.name)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _files(dotted: str) -> Iterator[tuple[Path, str]]:
    """The files that `import dotted` runs, outermost package first; nothing for a name that is no module of ours."""
    parts = dotted.split(".")
    for length in range(1, len(parts) + 1):
        stem, name = ROOT.joinpath(*parts[:length]), ".".join(parts[:length])
        if (stem / "__init__.py").is_file():
            yield stem / "__init__.py", name
        elif stem.with_suffix(".py").is_file():
            yield stem.with_suffix(".py"), name


def _imports(tree: ast.AST, module: str) -> Iterator[str]:
    """Dotted names under `framer` that some code imports, inside functions too; those for types alone do not count."""
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{module}: relative import in line {node.lineno}; this package imports absolutely")
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE.name)


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree but those under `if TYPE_CHECKING:`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _executed(child)
