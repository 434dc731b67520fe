"""The one YAML reader, models that check a file to the last key, and one clear line for the first mistake."""

import glob
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, core_schema

from framer.errors import UserError, one_line, unknown

_Model = TypeVar("_Model", bound=BaseModel)
MOST_NODES, MOST_LEVELS = 200_000, 40
"""Limits of a YAML text: scalars and collections, each alias counted as all it repeats; nested collections."""
LARGEST = 2**63 - 1
"""The largest integer in a file: the counters of PyTorch and NumPy hold 64 bits."""


@dataclass(frozen=True)
class Matching:
    """An annotation of a string that a pattern restricts; the message of a mistake has words in place of the pattern.

    Attributes:
        pattern: regular expression of the whole string.
        words: what it allows, as in "must be lowercase letters".
    """

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.str_schema(pattern=self.pattern, strict=True)
        return core_schema.custom_error_schema(schema, "spelling", custom_error_message=f"must be {self.words}")


Name = Annotated[
    str,
    Matching(r"^[a-z0-9][a-z0-9_]*(-[a-z0-9_]+)*$", "lowercase letters, digits and _, in parts joined by single -"),
]


class Strict(BaseModel):
    """No unknown keys, no silent conversions, no infinite numbers, no change after validation.

    Attributes:
        renamed: keys of earlier versions and their new names; an old one is refused with the new one in the message.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_renamed(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for old in cls.renamed.keys() & given.keys():
                raise ValueError(f"the key {old!r} is now named {cls.renamed[old]!r}; rename it")
        return given


def read_yaml(path: Path) -> dict[Any, Any]:
    """Read one YAML file.

    Raises:
        UserError: the file is missing, not UTF-8, not YAML, not a mapping, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        named = [p for p in sorted(Path().glob(f"*/{glob.escape(path.stem)}.yaml")) if p != path]
        near = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        hint = f"did you mean {named[0]}?" if named else f"there are: {near}"
        raise UserError(f"no such file; {hint}", path=path, code="missing") from None
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text; save it as UTF-8", path=path, code="unreadable") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path=path, code="unreadable") from None
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {_fault(error)}", path=path, code="unreadable") from None
    if not isinstance(content, dict):
        kind = "empty" if content is None else "not a mapping"
        raise UserError(f"{kind}; write KEY: VALUE lines", path=path)
    return content


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, read as in a file: `2e-3` and `1.0e-5` are numbers, a repeated key is an error.

    Raises:
        yaml.YAMLError: not valid YAML, a value that its type does not allow, or a text beyond the limits.
    """
    _check_limits(text)
    return yaml.load(text, Loader=_Loader)


def _fault(error: yaml.YAMLError) -> str:
    """`line 3: could not find expected ':'`."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark and problem else one_line(error)


def _refused(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _check_limits(text: str) -> None:
    """Refuse nesting that would exhaust the stack, and aliases that would multiply to more than memory holds."""
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:  # not defined before, or around this place
                message = f"alias *{event.anchor} stands for nothing before it"
                raise _refused(message, event.start_mark)
            total += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_.append((event.anchor, total))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                sizes[anchor] = total - before + 1
        if len(open_) > MOST_LEVELS or total > MOST_NODES:
            levels = len(open_) > MOST_LEVELS
            excess = f"more than {MOST_LEVELS} nested levels" if levels else f"more than {MOST_NODES} values"
            raise _refused(excess, event.start_mark)


class _Loader(yaml.CSafeLoader):
    """CSafeLoader, but a second key of one name is an error, where YAML lets it win silently, and 2e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():  # a tag can claim to be one
            if not isinstance(key, yaml.ScalarNode):
                raise _refused("a key is not a plain word", key.start_mark)
            if key.value in seen:
                raise _refused(f"key {key.value!r} is repeated", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML's scalar constructors leave whatever error Python's own conversion raises."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and abs(value) > LARGEST:
                raise OverflowError
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            message = f"{reprlib.repr(node.value)} is not a valid {kind}; quote it if it is text"
            raise _refused(message, node.start_mark) from None
        return value


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_model(path: Path, model: type[_Model]) -> _Model:
    """Read a file that `model` describes.

    Raises:
        UserError: it cannot be read, or has a wrong key or value.
    """
    try:
        return model.model_validate(read_yaml(path))
    except ValidationError as error:
        key, message = first_mistake(error, model)
        raise UserError(message, path=path, key=key) from None


def first_mistake(error: ValidationError, model: type[BaseModel]) -> tuple[str | None, str]:
    """The first mistake in what `model` describes: its key, dotted, and one line on what is wrong and how to fix it."""
    # A misspelt key is reported as both unknown and missing; the former message is more specific.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    at = list(first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        key = str(at[-1])
        known = _keys_at(model, at[:-1])
        message = unknown("key", key, known) if known else f"unknown key {key!r}"
        at = at[:-1]
    else:
        message = first["msg"].removeprefix("Value error, ")
        if not isinstance(first["input"], dict) and first["type"] not in ("value_error", "missing"):
            message += f", not {reprlib.repr(first['input'])}"
    return ".".join(str(part) for part in at) or None, message + more


def _keys_at(model: Any, at: list[Any]) -> list[str]:
    """The keys that are allowed at a place in a file, for the hint of a misspelt one."""
    for part in at:
        choices = _models(model)
        fields = [choice.model_fields[part].annotation for choice in choices if part in choice.model_fields]
        tagged = [c for c in choices if any(part in get_args(f.annotation) for f in c.model_fields.values())]
        model = (fields or tagged or [model])[0]
    return [key for choice in _models(model)[:1] for key in choice.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation: itself, or those of a dict's values, of a list or of a union."""
    return [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
