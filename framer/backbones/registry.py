"""Backbones by name. Each is imported only when it is used."""

import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from framer.backbones.settings import Settings
from framer.config_file import first_mistake
from framer.errors import UserError, unknown

if TYPE_CHECKING:
    from framer.backbones.base import Backbone


def backbone_class(name: str) -> "type[Backbone]":
    """The class of a backbone.

    Raises:
        UserError: there is no such backbone, or its class calls itself otherwise.
    """
    where = settings_class(name).backbone
    # Loaded by name, so that jobs of one backbone do not depend on the code of another.
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


SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "pisa_sr": "framer.backbones.pisa_sr.settings:PiSASRSettings",
        "dit4sr": "framer.backbones.dit4sr.settings:DiT4SRSettings",
    }
)
"""Where the settings of every backbone of this package are. Loaded by name, so that no job of one backbone depends on
the settings of another."""

LOADERS: Mapping[str, str] = MappingProxyType(
    {"spandrel": "framer.backbones.feed_forward.settings:FeedForwardSettings"}
)
"""Settings of what restores with a file of weights and is not trained: the `model` of an arm."""

GROUP = "framer.backbones"
"""Entry points of backbones in other packages: the name, and the class of the settings."""


def settings_class(backbone: str) -> type[Settings]:
    """The settings of a backbone: one of `SETTINGS` or `LOADERS`, or one that an installed package names in its
    entry points.

    Raises:
        UserError: there is no such backbone, two packages have one of that name, or it cannot be imported.
    """
    if own := SETTINGS.get(backbone) or LOADERS.get(backbone):
        loaded: type[Settings] = pkgutil.resolve_name(own)
        return loaded
    installed = entry_points(group=GROUP)
    found = {entry.value: entry for entry in installed if entry.name == backbone}
    if not found:
        raise UserError(unknown("backbone", backbone, [*SETTINGS, *sorted(installed.names)]))
    if len(found) > 1:
        raise UserError(f"backbone {backbone!r}: {' and '.join(sorted(found))} have this name; uninstall one of them")
    (value,) = found
    try:
        loaded = found[value].load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"backbone {backbone!r}: {value} cannot be imported ({error}); fix its entry point") from None
    if not (isinstance(loaded, type) and issubclass(loaded, Settings)):
        raise UserError(f"backbone {backbone!r}: {value} is no subclass of framer.backbones.settings.Settings")
    return loaded


AUXILIARY = "framer.method.auxiliary:auxiliary_loss"
"""What makes a recipe's loss, as `pkgutil.resolve_name` finds it. Loaded by name, for jobs that need it alone."""


def code_modules(backbone: str, *, framer: bool) -> list[str]:
    """The modules that a job loads by name; none of them is imported here.

    Args:
        backbone: whose class the job loads.
        framer: whether the job reads the layers of the network and computes the FRAMER loss.

    Raises:
        UserError: as `settings_class`.
    """
    settings = settings_class(backbone)
    named = [settings.backbone, *([settings.layers, AUXILIARY] if framer else [])]
    return [name.partition(":")[0] for name in named if name]


def settings_of(backbone: str, *given: dict[str, Any]) -> Settings:
    """The settings of a backbone, each mapping over the one before it, key by key.

    Raises:
        UserError: an unknown backbone or key, or a wrong value; "KEY: what is wrong".
    """
    merged: dict[str, Any] = {}
    for layer in given:
        merged = _merge(merged, layer)
    cls = settings_class(backbone)
    key = (cls, repr(merged))
    if key not in _PARSED:
        try:
            _PARSED[key] = cls.model_validate(merged)
        except ValidationError as error:
            where, message = first_mistake(error, cls)
            raise UserError(message, key=where) from None
    return _PARSED[key]


_PARSED: dict[tuple[type[Settings], str], Settings] = {}
"""Frozen settings by what was given: the workflow asks for the same ones hundreds of times."""


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merge(low[key], high[key]) for key in low.keys() & high.keys() if _dicts(low[key], high[key])}
    return low | high | both


def _dicts(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)
