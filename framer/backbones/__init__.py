"""Backbones by name. Each is imported only when it is asked for."""

import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from framer.backbones.settings import settings_class, settings_of
from framer.errors import UserError, unknown

if TYPE_CHECKING:
    from framer.backbones.base import Backbone


def backbone_class(name: str) -> "type[Backbone]":
    """The class of a backbone.

    Raises:
        UserError: there is no such backbone, or its class calls itself otherwise.
    """
    where = settings_class(name).backbone
    # Loaded by name, so that what one backbone trains does not hang on the other's code.
    loaded: type[Backbone] = pkgutil.resolve_name(where)
    if loaded.name != name:  # a run is found again by the name that its model gives
        raise UserError(f"backbone {name!r}: {where} calls itself {loaded.name!r}; give both one name")
    return loaded


def create(name: str, base: str, settings: Mapping[str, Any] = MappingProxyType({})) -> "Backbone":
    """A backbone in one of its named configurations, with random weights from torch's default generator.

    Args:
        name: "pisa_sr", "dit4sr", or one of another package.
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
