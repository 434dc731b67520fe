"""The interface of a backbone, through which all of training and restoring uses it."""

import importlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from framer.backbones.random import Draws
from framer.backbones.restorer import Restorer
from framer.errors import UserError

if TYPE_CHECKING:
    from framer.method.auxiliary import Auxiliary
    from framer.method.recipe import Space


@dataclass(frozen=True)
class Batch:
    """Training pairs and their random numbers.

    Attributes:
        lr: (B, 3, H / 4, W / 4) float32 in [0, 1].
        hr: (B, 3, H, W) float32 in [0, 1].
        stems: the photograph of each pair, as SET/STEM.
        draws: one generator per pair, and one for the batch.
        encoded: the pairs encoded earlier by `Backbone.encode`; `lr` and `hr` are empty then.
    """

    lr: Tensor
    hr: Tensor
    stems: tuple[str, ...]
    draws: Draws
    encoded: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step: `total`, a scalar with gradient, and its terms by name, detached scalars."""

    total: Tensor
    terms: dict[str, Tensor]


class Backbone(Restorer):
    """A diffusion-based x4 super-resolution model: a base network, its trained weights, its losses and its sampler.

    The base is trained by `pretraining_loss`, and the weights of each stage, after `adapt`, by `training_loss`.
    """

    def prepare(self, stages: Sequence[str]) -> None:
        """Load weights that training some stages needs besides base and adapter; called once, before the first stage.

        Raises:
            UserError: a file is missing.
        """

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the part of the training loss that does not depend on trained weights: tensors (B, ...).

        `framer encode` stores it, and `Batch.encoded` contains it in training.

        Raises:
            UserError: the backbone has no such part.
        """
        raise UserError(f"{self.name} has nothing to encode before training; remove this key", key="encode")

    def filtered(self, caption: str) -> str:
        """Filter a caption as the network's prompts are filtered."""
        return caption

    def encode_prompt(self, prompt: str) -> dict[str, Tensor]:
        """Encode a filtered caption, as `encode`: tensors without a batch dimension."""
        raise UserError(f"{self.name} has nothing to encode before training; remove this key", key="encode")

    def free_text(self) -> None:
        """Free the memory of the text encoders; they are loaded again when a prompt needs them."""

    def remember(self, prompts: Callable[[str], Mapping[str, Tensor] | None]) -> None:
        """Use results of `encode_prompt` from a cache; `prompts` looks them up by the filtered caption."""

    @cached_property
    def layers(self) -> Any:
        """The module `Settings.layers`. Imported by name, so that a job without FRAMER does not depend on its code."""
        return importlib.import_module(self.settings.layers)

    @abstractmethod
    def add_heads(self, space: "Space") -> None:
        """Create the modules that the FRAMER loss needs besides `network`, if any. Called after `adapt`.

        Args:
            space: where the recipe compares layers. Heads that start at zero give students of zero in the space of the
                output, from which no gradient leads away.
        """

    @abstractmethod
    def pretraining_loss(self, batch: Batch) -> StepLoss:
        """Compute the loss of the base on HR images alone."""

    @abstractmethod
    def training_loss(self, batch: Batch, framer: "Auxiliary | None" = None) -> StepLoss:
        """Compute the loss of the stage of the last `adapt`, plus FRAMER when it is given."""

    def layer_maps(self, batch: Batch, space: "Space") -> tuple[list[Tensor], Tensor]:
        """Compute the maps that FRAMER compares in training: every layer's and the teacher's, each (B, C, h, w).

        Call after `add_heads`; the heads are used as they are.

        Raises:
            UserError: the backbone does not implement it.
        """
        raise UserError(f"{self.name} does not implement layer_maps; remove this key", key="analysis")

    def fit_heads(self, batches: Iterable[Batch]) -> None:
        """Fit the heads, if any, to predict the teacher from each layer, by least squares.

        This makes layers comparable between models that were trained with heads and without.
        """
