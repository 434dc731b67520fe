"""All messages of `UserError` in one file, so that a change of wording is seen as one. `make messages` writes it."""

import ast
from pathlib import Path

from tests.fixtures.clone import ROOT

LIST = Path(__file__).parent / "messages.txt"


def template(node: ast.expr) -> str:
    """A message with its expressions in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    if isinstance(node, ast.FormattedValue):
        return f"{{{ast.unparse(node.value)}}}"
    return f"{{{ast.unparse(node)}}}"


def messages(path: Path) -> list[str]:
    """The code and the message of each `UserError(...)` of a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError":
            codes = [template(item.value) for item in node.keywords if item.arg == "code"]
            found.add(f"{[*codes, 'invalid'][0]}: {' '.join(template(node.args[0]).split())}")
    return sorted(found)


def every_message() -> str:
    modules = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "framer").rglob("*.py"))
    return "".join(f"{module}: {message}\n" for module in modules for message in messages(ROOT / module))


def test_the_messages_are_those_of_the_list() -> None:
    new, old = every_message().splitlines(), LIST.read_text(encoding="utf-8").splitlines()
    assert new == old, "read the difference and run: make messages"


if __name__ == "__main__":
    LIST.write_text(every_message(), encoding="utf-8")
