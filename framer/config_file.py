"""YAML files that are checked to the last key, and one clear line when they say something they may not."""

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
        UserError: it is missing or no text, is no YAML, no mapping, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise UserError(f"{path}: no such file; there are: {near}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        read = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None
    if not isinstance(read, dict):
        raise UserError(f"{path}: {'empty' if read is None else 'not a mapping'}; write KEY: VALUE lines")
    return read


class _Loader(yaml.CSafeLoader):
    """CSafeLoader, but a second key of one name is an error, where YAML lets it win silently, and 2e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no plain word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_model(path: Path, model: type[_Model]) -> _Model:
    """A file that `model` describes.

    Raises:
        UserError: it cannot be read, or has a wrong key or value: file, key, what is wrong, what to do.
    """
    try:
        return model.model_validate(read_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path}: {complaint(error, model)}") from None


def complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake in what `model` describes, as one line: key, what is wrong, what to do."""
    # A misspelt key is reported as both unknown and missing; the former says more.
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
    where = ".".join(str(part) for part in at)
    return f"{where + ': ' if where else ''}{message}{more}"


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
