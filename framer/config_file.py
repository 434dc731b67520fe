"""The one YAML reader, models that check a file to the last key, and one clear line for the first mistake."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from framer.errors import UserError, one_line, unknown

_Model = TypeVar("_Model", bound=BaseModel)
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*(-[a-z0-9_]+)*$")]


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
        near = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise UserError(f"no such file; there are: {near}", path=path, code="missing") from None
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text; save it as UTF-8", path=path, code="unreadable") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path=path, code="unreadable") from None
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {one_line(error)}", path=path, code="unreadable") from None
    if not isinstance(content, dict):
        kind = "empty" if content is None else "not a mapping"
        raise UserError(f"{kind}; write KEY: VALUE lines", path=path)
    return content


def parse_yaml(text: str) -> Any:
    """The value of a YAML text, read as in a file: `2e-3` and `1.0e-5` are numbers, a repeated key is an error.

    Raises:
        yaml.YAMLError: not valid YAML.
    """
    return yaml.load(text, Loader=_Loader)


class _Loader(yaml.CSafeLoader):
    """CSafeLoader, but a second key of one name is an error, where YAML lets it win silently, and 2e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a plain word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is repeated", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


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
            message += f", not {first['input']!r}"
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
