"""A fingerprint of the code that a command runs, so that Snakemake re-runs a job when its code changed.

Snakemake sees the text of a rule, not the modules behind it. A fingerprint is the hash of the syntax trees of one
command's function in `framer/commands` and of every module of this package that it imports, directly or not. Where a
backbone lies in another package, what it imports from there counts in the same way.

What only people read is not in the hash: comments, formatting, docstrings, `description=` keywords, and the literal
text of the message in `raise X(message, ...)` and in calls on a `logging.Logger`. An expression inside an f-string
counts, and so does every other string. Neither is anything in it that depends on the Python version: the submit host
and a compute node agree.
"""

import ast
import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from framer.errors import UserError
from framer.provenance.files import write_text

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent


@cache
def fingerprint(command: str, *modules: str) -> str:
    """Twelve hex digits that change when the code behind `framer COMMAND` does.

    Args:
        command: a command, as in `framer train`; its function in `framer/commands` has the same name.
        modules: dotted names of modules that the command loads by name, such as the backbone's.

    Raises:
        KeyError: no function of that name.
        UserError: a module has no source that can be read.
    """
    trees = [_parse(path) for path in sorted((PACKAGE / "commands").glob("*.py"))]
    functions = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    function = functions[command.replace("-", "_")]
    for module in modules:
        if module not in (dotted for _, dotted in _files(module)):
            raise UserError(f"{module}: no Python source was found, of which a fingerprint could be taken")
    packages = {PACKAGE.name, *(module.partition(".")[0] for module in modules)}
    files = closure([*_imports(function, "framer.commands"), *modules], packages)
    _save_sources()
    parts: dict[str, Any] = {"": normal_form(function, message_nodes(function))}
    for path, dotted in files.items():
        parts[dotted] = _source(path, dotted).code
        if path.name == "__init__.py":
            beside = (file for file in path.parent.iterdir() if file.is_file() and file.suffix not in _CODE)
            data = (file for file in beside if file not in _UNCOUNTED)
            parts |= {f"{dotted}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in data}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


_CODE = {".py", ".pyc", ".pyi"}
_BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)

# The first turn a study file into settings, the second lists the named recipes. What they resolve is a job's
# parameters, which Snakemake compares by value, so their code does not count: a new metric in the schema, or a new
# recipe, must train nothing again. The others compute no result: the wording of messages, and estimates of time.
_UNCOUNTED = {
    *(PACKAGE / "study").glob("*.py"),
    PACKAGE / "method" / "recipes.py",
    PACKAGE / "errors.py",
    PACKAGE / "dag" / "speeds.yaml",
}


def closure(modules: list[str], packages: set[str]) -> dict[Path, str]:
    """The files behind some modules: theirs, their packages' and what those import of some top-level packages.

    Returns:
        Each with its dotted name, which is the same on every machine.
    """
    files: dict[Path, str] = {}
    queue = list(modules)
    while queue:
        name = queue.pop()
        for path, dotted in _files(name):
            if path.name == "__init__.py" and (lazy := _source(path, dotted).lazy.get(name)):
                queue.append(lazy)
            if path not in files and path not in _UNCOUNTED:
                files[path] = dotted
                queue += [one for one in _source(path, dotted).imports if one.partition(".")[0] in packages]
    return files


def normal_form(node: Any, messages: Container[ast.AST] = ()) -> Any:
    """A syntax tree as nested lists without positions, documentation and empty fields.

    Empty fields go because newer Pythons add fields (`type_params`), which are empty for older syntax.

    Args:
        node: a tree, or a list of trees, or a value in one.
        messages: the nodes whose literal text does not count; see `message_nodes`.
    """
    if isinstance(node, ast.AST):
        if node in messages:
            return ["message", [normal_form(part) for part in _text_parts(node) if not _is_string(part)]]
        values = vars(node)
        fields = [(name, values[name]) for name in node._fields if values.get(name) is not None and name != "kind"]
        formed = [[name, normal_form(value, messages)] for name, value in fields]
        return [type(node).__name__, [[name, value] for name, value in formed if value != []]]
    if isinstance(node, list):
        return [normal_form(item, messages) for item in node if not _is_documentation(item)]
    return node if isinstance(node, str) else [type(node).__name__, repr(node)]


def message_nodes(tree: ast.AST) -> set[ast.AST]:
    """The message argument of every `raise X(message, ...)` and of every call on a logger that the module makes."""
    nodes = list(ast.walk(tree))
    made = [node for node in nodes if isinstance(node, ast.Assign) and _makes_logger(node.value)]
    loggers = {target.id for node in made for target in node.targets if isinstance(target, ast.Name)}
    found: set[ast.AST] = set()
    for node in nodes:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found |= {*node.exc.args[:1], *(keyword.value for keyword in node.exc.keywords if keyword.arg == "message")}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LOGGING:
            of = node.func.value
            if _makes_logger(of) or (isinstance(of, ast.Name) and of.id in loggers):
                at = _LOGGING[node.func.attr]
                found |= {
                    *node.args[at : at + 1],
                    *(keyword.value for keyword in node.keywords if keyword.arg == "msg"),
                }
    return found


_LOGGING = dict.fromkeys(("debug", "info", "warning", "error", "exception", "critical"), 0) | {"log": 1}
"""Methods of `logging.Logger` and the place of the message among their arguments."""


def _makes_logger(node: ast.AST) -> bool:
    """Whether an expression is `logging.getLogger(...)` or `getLogger(...)`."""
    name = node.func if isinstance(node, ast.Call) else None
    return "getLogger" in (getattr(name, "attr", None), getattr(name, "id", None))


def _text_parts(message: ast.AST) -> list[ast.AST]:
    """The parts of a message that are joined to one text: literals and expressions."""
    if isinstance(message, ast.JoinedStr):
        return list(message.values)
    if isinstance(message, ast.BinOp) and isinstance(message.op, ast.Add):
        return [*_text_parts(message.left), *_text_parts(message.right)]
    return [message]


def _is_string(node: Any) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_documentation(node: Any) -> bool:
    """Whether it is a docstring, of a module, a function, a class or an attribute, or a keyword `description=...`."""
    described = isinstance(node, ast.keyword) and node.arg == "description"
    return described or (isinstance(node, ast.Expr) and _is_string(node.value))


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=path.name)


@dataclass(frozen=True)
class _Source:
    """What a fingerprint needs of one module.

    Attributes:
        code: hash of its normal form.
        imports: dotted names that it imports.
        lazy: names that a package gives on first use, `package.NAME`: those that it imports for types alone.
    """

    code: str
    imports: list[str]
    lazy: dict[str, str]


@cache
def _source(path: Path, dotted: str) -> _Source:
    """A module's facts, from the cache where its bytes and this module's are those of before."""
    key = hashlib.sha256(_own_bytes() + dotted.encode() + b"\0" + path.read_bytes()).hexdigest()
    kept = _kept_sources()
    if key not in kept:
        tree = _parse(path)
        package = path.name == "__init__.py"
        code = hashlib.sha256(json.dumps(normal_form(tree, message_nodes(tree))).encode()).hexdigest()
        lazy = _lazy(tree, dotted) if package else {}
        kept[key] = [code, list(_imports(tree, dotted, package=package)), lazy]
        _new_sources.append(key)
    return _Source(*kept[key])


_CACHE = Path("__pycache__", "fingerprints.json")
"""Parsing the package takes longer than all else that the workflow does at its start; like bytecode, what it gives is
kept by the hash of the source, in the package's folder."""
_new_sources: list[str] = []


@cache
def _own_bytes() -> bytes:
    return Path(__file__).read_bytes()


@cache
def _kept_sources() -> dict[str, list[Any]]:
    try:
        kept = json.loads((PACKAGE / _CACHE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = kept.items() if isinstance(kept, dict) else ()
    return {key: value for key, value in entries if isinstance(value, list) and len(value) == 3}


def _save_sources() -> None:
    """Keep what was parsed, for the next process; an installation that cannot be written to is parsed each time."""
    if not _new_sources:
        return
    _new_sources.clear()
    newest = dict(list(_kept_sources().items())[-1000:])
    with contextlib.suppress(OSError):
        write_text(PACKAGE / _CACHE, json.dumps(newest))


@cache
def _home(package: str) -> Path | None:
    """The folder that a top-level package or module lies in. It is found, not imported."""
    if package == PACKAGE.name:
        return ROOT
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    return Path(spec.origin).parents[1 if spec.submodule_search_locations else 0]


@cache
def _files(dotted: str) -> tuple[tuple[Path, str], ...]:
    """The files that `import dotted` runs, outermost package first; of a name in a module, that module's."""
    parts, found = dotted.split("."), []
    if (home := _home(parts[0])) is None:
        return ()
    for length in range(1, len(parts) + 1):
        stem, name = home.joinpath(*parts[:length]), ".".join(parts[:length])
        if (stem / "__init__.py").is_file():
            found.append((stem / "__init__.py", name))
        elif stem.with_suffix(".py").is_file():
            found.append((stem.with_suffix(".py"), name))
    return tuple(found)


def _lazy(tree: ast.Module, package: str) -> dict[str, str]:
    found = (name for block in tree.body if _for_types(block) for name in _imports(block, package))
    return {f"{package}.{name.rpartition('.')[2]}": name for name in found}


def _imports(tree: ast.AST, module: str, *, package: bool = True) -> Iterator[str]:
    """Dotted names that some code imports, inside functions too; those for types alone do not count.

    Args:
        tree: of the code.
        module: in which it is.
        package: whether that is a package; relative imports start there then, and beside it otherwise.
    """
    beside = module if package else module.rpartition(".")[0]
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), beside)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements of a tree but those under `if TYPE_CHECKING:`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        children = (child for child in ast.iter_child_nodes(node) if isinstance(child, _BLOCKS))
        waiting += [child for child in children if not _for_types(child)]


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
