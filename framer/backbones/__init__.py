"""Backbones by name. Each lies in the module of its name and is imported only when it is asked for."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from framer.backbones.settings import settings_of
from framer.errors import UserError, unknown

if TYPE_CHECKING:
    from framer.backbones.base import Backbone

CLASSES = {"pisa_sr": "PiSASR", "dit4sr": "DiT4SR"}
"""Class of each backbone, in `framer.backbones.<name>`. Its settings are in `framer.backbones.settings`."""


def backbone_class(name: str) -> "type[Backbone]":
    """The class of a backbone.

    Raises:
        UserError: there is no such backbone.
    """
    if name not in CLASSES:
        raise UserError(unknown("backbone", name, CLASSES))
    # Loaded by name, so that what one backbone trains does not hang on the other's code.
    loaded: type[Backbone] = getattr(importlib.import_module(f"{__name__}.{name}"), CLASSES[name])
    return loaded


def create(name: str, base: str, settings: Mapping[str, Any] = MappingProxyType({})) -> "Backbone":
    """A backbone in one of its named configurations, with random weights from torch's default generator.

    Args:
        name: "pisa_sr" or "dit4sr".
        base: a configuration of that backbone, such as "tiny".
        settings: what is not at its default, as in study files.

    Raises:
        UserError: there is no such backbone or configuration.
    """
    cls = backbone_class(name)
    if base not in cls.bases:
        raise UserError(f"backbones.{name}.base: {unknown('configuration', base, cls.bases)}")
    return cls(cls.bases[base], settings_of(name, dict(settings)))


def from_config(name: str, config: dict[str, Any], settings: Mapping[str, Any]) -> "Backbone":
    """A backbone as `config.json` beside its weights describes it, with random weights."""
    return backbone_class(name)(config, settings_of(name, dict(settings)))
