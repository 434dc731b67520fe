"""What a backbone must provide. The engine trains and restores with this and knows of no particular backbone."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from framer.backbones.finite import finite
from framer.backbones.image_ops import pad_to, upsample
from framer.backbones.random import Draws
from framer.backbones.settings import RestoreSettings, Settings
from framer.backbones.state_dict import load_exactly
from framer.errors import UserError

if TYPE_CHECKING:
    from framer.method import FramerLoss
    from framer.method.recipe import Space


@dataclass(frozen=True)
class Batch:
    """Training pairs and their random numbers.

    Attributes:
        lr: (B, 3, H / 4, W / 4) float32 in [0, 1].
        hr: (B, 3, H, W) float32 in [0, 1].
        stems: the photograph of each pair, as SET/STEM.
        draws: a generator a pair, and one for the batch.
        encoded: what `Backbone.encode` made of the pairs earlier; `lr` and `hr` are empty then.
    """

    lr: Tensor
    hr: Tensor
    stems: tuple[str, ...]
    draws: Draws
    encoded: Mapping[str, Tensor] | None = None


def widened(dtype: torch.dtype) -> torch.dtype:
    """What trains, and what a loss is computed in: float32 under 16-bit arithmetic, else the dtype itself."""
    return torch.promote_types(dtype, torch.float32)


@dataclass(frozen=True)
class StepLoss:
    """What one step minimises: `total`, a scalar with gradient, and its terms by name, detached scalars."""

    total: Tensor
    terms: dict[str, Tensor]


class Backbone(ABC):
    """A diffusion-based x4 super-resolution model: a base network, what is trained on it, and how it restores.

    Images are (B, 3, H, W) float32 in [0, 1]. A backbone starts with random weights (torch's default generator), as a
    base: all of its weights are trainable by `pretraining_loss`. After `adapt` the base is frozen, and only weights of
    `adapter_state` train, those of one stage at a time, by `training_loss`.

    Attributes:
        name: its key in `framer.backbones` and in study files.
        bases: configurations that can be built from random weights, by the name that study files use.
        multiple: the sides of the restored image must be multiples of this; `restore_image` pads.
        settings: what a study sets of it.
        prompts: text of a photograph, in training by SET/STEM, in restoring by STEM; the empty prompt where there is
            none. Set by the engine.
        network: the network that restores.
        heads: what FRAMER needs in training besides `network`; never saved, never used for restoring.
    """

    name: ClassVar[str]
    bases: ClassVar[Mapping[str, dict[str, Any]]]

    multiple: int
    network: nn.Module
    heads: nn.Module

    def __init__(self, config: dict[str, Any], settings: Settings):
        self.config, self.settings = config, settings
        self.prompts: Mapping[str, str] = {}
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        """Move the model. `dtype` is that of frozen weights and arithmetic; what trains has 32 bits or more."""
        self.device, self.dtype = torch.device(device), dtype
        trained = set(self.adapter_state())
        for name, parameter in self.network.named_parameters():
            parameter.data = parameter.data.to(self.device, widened(dtype) if name in trained else dtype)
        self.heads.to(self.device, widened(dtype))

    def autocast(self) -> torch.autocast:
        """The context in which the network runs: its 16-bit arithmetic, where it has one."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype in (torch.bfloat16, torch.float16))

    def prepare(self, stages: Sequence[str]) -> None:  # noqa: B027
        """Read what training some stages needs besides base and adapter; called once, before the first of them.

        Raises:
            UserError: it is not there.
        """

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """What the training loss computes of a batch whatever the weights that train: tensors (B, ...).

        `framer encode` keeps it, and `Batch.encoded` brings it back.

        Raises:
            UserError: the backbone has nothing of the kind.
        """
        raise UserError(f"{self.name}: has nothing to encode before training; drop encode")

    def filtered(self, caption: str) -> str:
        """A caption as the network is told it."""
        return caption

    def encode_prompt(self, prompt: str) -> dict[str, Tensor]:
        """The same of a filtered caption: tensors without a batch dimension."""
        raise UserError(f"{self.name}: has nothing to encode before training; drop encode")

    def free_text(self) -> None:  # noqa: B027
        """Give back the memory of what encodes prompts; it is loaded again when a prompt needs it."""

    def remember(self, prompts: Callable[[str], Mapping[str, Tensor] | None]) -> None:  # noqa: B027
        """Use what `encode_prompt` made earlier; `prompts` finds it by the filtered caption."""

    @property
    def tiny(self) -> bool:
        """Whether it is a small configuration on a pixel codec, which runs on CPUs, whatever else there is."""
        return "codec" in self.config

    @cached_property
    def layers(self) -> Any:
        """The module `Settings.layers`. Imported by name, so that a job without FRAMER does not depend on its code."""
        return importlib.import_module(self.settings.layers)

    @property
    def metadata(self) -> dict[str, str]:
        """What safetensors of the model say of themselves; one entry, since their order is not fixed."""
        return {"format": "pt"}

    @classmethod
    def open(cls, folder: Path, settings: Settings) -> "Backbone":
        """On a published pipeline in a folder of diffusers' layout, with its weights.

        Raises:
            UserError: a part of it is missing, damaged or of another model.
        """
        raise UserError(f"{folder}: {cls.name} cannot be built on a published pipeline")

    def load_published(self, path: Path) -> tuple[dict[str, Any], list[str]]:
        """Load trained weights as their authors publish them.

        Returns:
            The settings that these weights need where they are not the backbone's own, and the stages that they went
            through.

        Raises:
            UserError: the file is damaged, or this backbone has no such weights.
        """
        raise UserError(f"{path}: {self.name} knows of no published weights in a file")

    @classmethod
    def export(cls, path: Path, out: Path, form: str) -> None:
        """Write the trained weights in a file in a form for other programs.

        Raises:
            UserError: the file is damaged, or there is no such form.
        """
        raise UserError(f"{form}: {cls.name} has no form of its weights besides its runs")

    @abstractmethod
    def adapt(self, stage: str) -> None:
        """Make one of `settings.stages` trainable and freeze all else.

        What a stage trains is added so that it changes nothing yet that depends on LR.
        """

    @abstractmethod
    def add_heads(self) -> None:
        """Add what the FRAMER loss needs besides `network`, if anything. Called after `adapt`."""

    @abstractmethod
    def pretraining_loss(self, batch: Batch) -> StepLoss:
        """The loss of the base on HR images alone."""

    @abstractmethod
    def training_loss(self, batch: Batch, framer: "FramerLoss | None" = None) -> StepLoss:
        """The loss of the stage that `adapt` was called for, plus FRAMER when it is given."""

    def layer_maps(self, batch: Batch, space: "Space") -> tuple[list[Tensor], Tensor]:
        """What FRAMER compares in the training loss: every layer's map and the teacher's, each (B, C, h, w).

        Call after `add_heads`; the heads are used as they are.

        Raises:
            UserError: the backbone does not show its layers.
        """
        raise UserError(f"{self.name}: does not show the maps of its layers; drop analysis")

    def fit_heads(self, batches: Iterable[Batch]) -> None:  # noqa: B027
        """Set the heads, where there are any, to what reads the teacher best out of each layer, by least squares.

        So layers can be compared alike in models that were trained with heads and in those that were not.
        """

    @abstractmethod
    def restore(
        self, upsampled: Tensor, draws: Draws, options: RestoreSettings, *, prompt: str = "", blank_lr: bool = False
    ) -> Tensor:
        """Restore a batch whose sides are multiples of `multiple`.

        Args:
            upsampled: bicubic x4 of the LR images, (B, 3, H, W) in [0, 1].
            draws: of the starting noise, where there is one.
            options: the backbone's own, of the class of `settings.restore`.
            prompt: what is said of the images, for backbones that read it.
            blank_lr: control experiment: the network sees a zero LR latent.

        Returns:
            (B, 3, H, W), not clamped.
        """

    @abstractmethod
    def adapter_state(self) -> dict[str, Tensor]:
        """The trained weights that restoring needs besides the base, by their published names."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that the current stage trains, by name."""
        named = [*self.network.named_parameters(), *((f"heads.{n}", p) for n, p in self.heads.named_parameters())]
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def base_state(self) -> dict[str, Tensor]:
        """All weights of the base, before `adapt`."""
        return dict(self.network.state_dict())

    def load_base(self, state: Mapping[str, Tensor], source: str) -> None:
        """Load the weights of a base, before `adapt`; `source` names them in errors."""
        load_exactly(self.base_state(), state, source)

    def load_adapter(self, state: Mapping[str, Tensor], source: str) -> None:
        """Load trained weights, after `adapt`; `source` names them in errors."""
        load_exactly(self.adapter_state(), state, source)

    @torch.no_grad()
    def restore_image(
        self,
        lr: Tensor,
        draws: Draws,
        options: RestoreSettings | None = None,
        *,
        prompt: str = "",
        blank_lr: bool = False,
    ) -> Tensor:
        """Restore images of any size to exactly 4x: upsample, pad by reflection, restore, crop.

        Args:
            lr: (B, 3, h, w) in [0, 1].
            draws, prompt, blank_lr: as for `restore`.
            options: as for `restore`; those of `settings` when absent.

        Returns:
            (B, 3, 4h, 4w) in [0, 1].

        Raises:
            UserError: a value is not finite, or far out of range: code "diverged".
        """
        upsampled = upsample(lr)
        height, width = upsampled.shape[-2:]
        padded = pad_to(upsampled, -height % self.multiple, -width % self.multiple)
        image = self.restore(padded, draws, options or self.settings.restore, prompt=prompt, blank_lr=blank_lr)
        return finite(image[..., :height, :width], "the restored image").clamp(0, 1)
