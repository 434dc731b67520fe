"""What a study may set of each backbone. Without torch: studies are read before anything heavy is imported.

What training reads is part of a run's identity; what only restoring reads stands under `restore`, so that another
number of sampler steps trains nothing again.
"""

from collections.abc import Container
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from framer.config_file import Strict
from framer.errors import UserError

if TYPE_CHECKING:  # the code of a baseline does not include the method
    from framer.method.recipe import Recipe


class RestoreSettings(Strict):
    """What restoring reads besides the checkpoint."""

    precision: Literal["float32", "bf16", "fp16"] = Field(
        default="float32", description="of frozen weights and arithmetic; fp16 on GPUs alone"
    )


class FreeU(Strict):
    """The factors of FreeU (arXiv 2309.11497): a U-Net's two lowest decoder stages, changed at inference alone."""

    s1: float = Field(gt=0, description="of the low frequencies of skip features, first stage")
    s2: float = Field(gt=0, description="of the same, second stage")
    b1: float = Field(gt=0, description="of half of the backbone's channels, first stage")
    b2: float = Field(gt=0, description="of the same, second stage")


class Settings(Strict):
    """The settings of one backbone; all of them have defaults.

    Attributes:
        backbone: where its class is, as `module:Class`. Imported only where a network is needed.
        layers: the module that reads a network's layers for FRAMER, imported for trainings with a recipe and analyses
            alone; empty where the module of the class does it itself, so that every job depends on its code.
        stages: names of the training stages in their order; a study trains the first or more of them.
        skips: whether the network has the skip connections of a U-Net, which FreeU changes.
        truths: what of the ground truth the training loss gives to a recipe that asks for it: "latent", "image".
    """

    backbone: ClassVar[str]
    layers: ClassVar[str] = ""
    stages: ClassVar[tuple[str, ...]]
    skips: ClassVar[bool] = False
    truths: ClassVar[tuple[str, ...]] = ()

    restore: RestoreSettings = RestoreSettings()

    def needs(self, stages: Container[str]) -> tuple[str, ...]:
        """Ids of the manifests of weights that training some stages needs besides the base."""
        return ()

    def check(self, recipe: "Recipe") -> None:
        """Refuse a recipe that the training loss of these settings cannot compute.

        Raises:
            UserError: with the field of the recipe as its key.
        """
        if recipe.truth and recipe.truth not in self.truths:
            key = "recipe.objective" if recipe.external else "recipe.teacher"
            known = " or ".join(self.truths) or "no truth"
            message = f"compares with the true {recipe.truth}; this backbone gives its loss {known}; choose another"
            raise UserError(message, key=key, code="conflict")

    @property
    def training(self) -> dict[str, Any]:
        """What makes the weights, as JSON-able values."""
        return self.model_dump(mode="json", exclude={"restore"})

    @property
    def set_for_restoring(self) -> dict[str, Any]:
        """What `restore` was given, without what stays at its default."""
        return self.restore.model_dump(mode="json", exclude_defaults=True)
