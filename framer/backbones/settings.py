"""What a study may set of each backbone. Without torch: studies are read before anything heavy is imported.

What training reads is part of a run's identity; what only restoring reads stands under `restore`, so that another
number of sampler steps trains nothing again.
"""

from typing import Any, ClassVar

from pydantic import Field, ValidationError

from framer.errors import UserError, unknown
from framer.strict_yaml import Strict, complaint


class RestoreSettings(Strict):
    """What restoring reads besides the checkpoint."""


class Settings(Strict):
    """The settings of one backbone; all of them have defaults.

    Attributes:
        stages: names of the training stages in their order; a study trains the first or more of them.
    """

    stages: ClassVar[tuple[str, ...]]

    restore: RestoreSettings = RestoreSettings()

    @property
    def training(self) -> dict[str, Any]:
        """What makes the weights, as JSON-able values."""
        return self.model_dump(mode="json", exclude={"restore"})

    @property
    def set_for_restoring(self) -> dict[str, Any]:
        """What `restore` was given, without what stays at its default."""
        return self.restore.model_dump(mode="json", exclude_defaults=True)


class PiSASRRestore(RestoreSettings):
    """PiSA-SR restores in one step."""


class PiSASRSettings(Settings):
    """PiSA-SR."""

    stages = ("pixel",)

    restore: PiSASRRestore = PiSASRRestore()


class DiT4SRRestore(RestoreSettings):
    """How DiT4SR samples."""

    steps: int = Field(default=40, ge=1, le=1000, description="Euler steps an image")


class DiT4SRSettings(Settings):
    """DiT4SR."""

    stages = ("control",)

    restore: DiT4SRRestore = DiT4SRRestore()


SETTINGS: dict[str, type[Settings]] = {"pisa_sr": PiSASRSettings, "dit4sr": DiT4SRSettings}
"""Settings of every backbone, by its name."""


def settings_class(backbone: str) -> type[Settings]:
    """The settings of a backbone.

    Raises:
        UserError: there is no such backbone.
    """
    if backbone not in SETTINGS:
        raise UserError(unknown("backbone", backbone, SETTINGS))
    return SETTINGS[backbone]


def settings_of(backbone: str, *given: dict[str, Any]) -> Settings:
    """The settings of a backbone, each mapping over the one before it, key by key.

    Raises:
        UserError: an unknown backbone or key, or a wrong value; "KEY: what is wrong".
    """
    merged: dict[str, Any] = {}
    for layer in given:
        merged = _merge(merged, layer)
    cls = settings_class(backbone)
    try:
        return cls.model_validate(merged)
    except ValidationError as error:
        raise UserError(complaint(error, cls)) from None


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merge(low[key], high[key]) for key in low.keys() & high.keys() if _dicts(low[key], high[key])}
    return low | high | both


def _dicts(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)
