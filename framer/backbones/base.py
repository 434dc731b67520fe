"""The interface of a backbone, through which all of training and restoring uses it."""

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
from framer.backbones.image_ops import enlarged_size, pad_to, resized, resized_8_bit, upsample
from framer.backbones.random import Draws
from framer.backbones.settings import RestoreSettings, Settings
from framer.backbones.state_dict import load_exactly
from framer.data.degradation.presets import SCALE
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
        draws: one generator per pair, and one for the batch.
        encoded: the pairs encoded earlier by `Backbone.encode`; `lr` and `hr` are empty then.
    """

    lr: Tensor
    hr: Tensor
    stems: tuple[str, ...]
    draws: Draws
    encoded: Mapping[str, Tensor] | None = None


def widened(dtype: torch.dtype) -> torch.dtype:
    """The dtype of trained weights and of losses: float32 under 16-bit arithmetic, else the dtype itself."""
    return torch.promote_types(dtype, torch.float32)


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step: `total`, a scalar with gradient, and its terms by name, detached scalars."""

    total: Tensor
    terms: dict[str, Tensor]


class Backbone(ABC):
    """A diffusion-based x4 super-resolution model: a base network, its trained weights, its losses and its sampler.

    Images are (B, 3, H, W) float32 in [0, 1]. A backbone starts with random weights (torch's default generator), as a
    base: all of its weights are trainable by `pretraining_loss`. After `adapt` the base is frozen, and only weights of
    `adapter_state` train, those of one stage at a time, by `training_loss`.

    Attributes:
        name: its key in the registry and in study files.
        bases: configurations that can be built from random weights, by their names in study files.
        multiple: the sides of the restored image must be multiples of this; `restore_image` pads.
        process_size: smaller images are enlarged to this short side before they are restored, pixels of the output.
        settings: the study's settings of this backbone.
        prompts: text of each photograph, in training by SET/STEM, in restoring by STEM; photographs without an entry
            have the empty prompt. Set by training and restoring.
        network: the network that restores.
        heads: modules that FRAMER needs in training besides `network`; never saved, never used for restoring.
    """

    name: ClassVar[str]
    bases: ClassVar[Mapping[str, dict[str, Any]]]

    multiple: int
    process_size: int = 1
    network: nn.Module
    heads: nn.Module

    def __init__(self, config: dict[str, Any], settings: Settings):
        self.config, self.settings = config, settings
        self.prompts: Mapping[str, str] = {}
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        """Move the model. `dtype` applies to frozen weights and arithmetic; trained weights have 32 bits or more."""
        self.device, self.dtype = torch.device(device), dtype
        trained = set(self.adapter_state())
        for name, parameter in self.network.named_parameters():
            parameter.data = parameter.data.to(self.device, widened(dtype) if name in trained else dtype)
        self.heads.to(self.device, widened(dtype))

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs: autocast for 16-bit arithmetic, else none."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype in (torch.bfloat16, torch.float16))

    def prepare(self, stages: Sequence[str]) -> None:  # noqa: B027
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

    def free_text(self) -> None:  # noqa: B027
        """Free the memory of the text encoders; they are loaded again when a prompt needs them."""

    def remember(self, prompts: Callable[[str], Mapping[str, Tensor] | None]) -> None:  # noqa: B027
        """Use results of `encode_prompt` from a cache; `prompts` looks them up by the filtered caption."""

    @property
    def tiny(self) -> bool:
        """Whether this is a small configuration on a pixel codec, which always runs on CPUs."""
        return "codec" in self.config

    @cached_property
    def layers(self) -> Any:
        """The module `Settings.layers`. Imported by name, so that a job without FRAMER does not depend on its code."""
        return importlib.import_module(self.settings.layers)

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of the model's safetensors; a single entry, since the order of entries is not fixed."""
        return {"format": "pt"}

    @classmethod
    def open(cls, folder: Path, settings: Settings) -> "Backbone":
        """Build the backbone on a published pipeline in diffusers' layout, with its weights.

        Raises:
            UserError: a part of it is missing, damaged or of another model.
        """
        raise UserError(f"{cls.name} cannot be built on a published pipeline", path=folder)

    def load_published(self, path: Path) -> tuple[dict[str, Any], list[str]]:
        """Load trained weights as their authors publish them.

        Returns:
            The settings that these weights require where they differ from the backbone's own, and the stages of their
            training.

        Raises:
            UserError: the file is damaged, or this backbone has no such weights.
        """
        raise UserError(f"{self.name} cannot read published weights from a file", path=path)

    @classmethod
    def export(cls, path: Path, out: Path, form: str, base: Path | None = None) -> None:
        """Write the trained weights in a file in a form for other programs.

        Args:
            path: weights of a run, or a file of published weights.
            out: file or folder, depending on the form.
            form: name of the form.
            base: folder of the published pipeline of the base, for forms that contain it or are checked against it.

        Raises:
            UserError: the file is damaged, there is no such form, or it requires a base.
        """
        raise UserError(f"{cls.name} has no form of its weights besides its runs", key="--to", code="unknown")

    @abstractmethod
    def adapt(self, stage: str) -> None:
        """Make one of `settings.stages` trainable and freeze everything else.

        New weights start so that no output depends on LR through them yet.
        """

    @abstractmethod
    def add_heads(self) -> None:
        """Create the modules that the FRAMER loss needs besides `network`, if any. Called after `adapt`."""

    @abstractmethod
    def pretraining_loss(self, batch: Batch) -> StepLoss:
        """Compute the loss of the base on HR images alone."""

    @abstractmethod
    def training_loss(self, batch: Batch, framer: "FramerLoss | None" = None) -> StepLoss:
        """Compute the loss of the stage of the last `adapt`, plus FRAMER when it is given."""

    def layer_maps(self, batch: Batch, space: "Space") -> tuple[list[Tensor], Tensor]:
        """Compute the maps that FRAMER compares in training: every layer's and the teacher's, each (B, C, h, w).

        Call after `add_heads`; the heads are used as they are.

        Raises:
            UserError: the backbone does not implement it.
        """
        raise UserError(f"{self.name} does not implement layer_maps; remove this key", key="analysis")

    def fit_heads(self, batches: Iterable[Batch]) -> None:  # noqa: B027
        """Fit the heads, if any, to predict the teacher from each layer, by least squares.

        This makes layers comparable between models that were trained with heads and without.
        """

    @abstractmethod
    def restore(
        self, upsampled: Tensor, draws: Draws, options: RestoreSettings, *, prompt: str = "", blank_lr: bool = False
    ) -> Tensor:
        """Restore a batch whose sides are multiples of `multiple`.

        Args:
            upsampled: bicubic x4 of the LR images, (B, 3, H, W) in [0, 1].
            draws: random numbers of the starting noise, for samplers that need it.
            options: restore settings, of the class of `settings.restore`.
            prompt: description of the images, for backbones with text.
            blank_lr: control experiment: replace the LR latent by zeros.

        Returns:
            (B, 3, H, W), not clamped.
        """

    @abstractmethod
    def adapter_state(self) -> dict[str, Tensor]:
        """Return the trained weights that restoring needs besides the base, by their published names."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that the current stage trains, by name."""
        named = [*self.network.named_parameters(), *((f"heads.{n}", p) for n, p in self.heads.named_parameters())]
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def base_state(self) -> dict[str, Tensor]:
        """Return all weights of the base, before `adapt`."""
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
        """Restore images of any size to exactly 4x: enlarge small ones, upsample, pad by reflection, restore, crop.

        As in the released codes, an image whose short side is below `process_size` after upsampling is enlarged first,
        in two bicubic steps of 8 bits, and reduced afterwards. See `enlarged_size`.

        Args:
            lr: (B, 3, h, w) in [0, 1].
            draws, prompt, blank_lr: as for `restore`.
            options: as for `restore`; by default those of `settings`.

        Returns:
            (B, 3, 4h, 4w) in [0, 1], on the CPU.

        Raises:
            UserError: a value is not finite, or far out of range: code "diverged".
        """
        options = options or self.settings.restore
        lr = lr.to(self.device)
        size = lr.shape[-2], lr.shape[-1]
        enlarged = enlarged_size(*size, self.process_size // SCALE)
        if small := enlarged != size:
            lr = resized_8_bit(lr, enlarged)
            upsampled = resized_8_bit(lr, [SCALE * side for side in enlarged])
        else:
            upsampled = upsample(lr)
        height, width = upsampled.shape[-2:]
        padded = pad_to(upsampled, -height % self.multiple, -width % self.multiple)
        image = self.restore(padded, draws, options, prompt=prompt, blank_lr=blank_lr)
        if image.shape != padded.shape:
            shapes = f"{tuple(image.shape)}, not {tuple(padded.shape)}"
            raise UserError(f"restore of {self.name} returned images of shape {shapes}; it must keep the shape")
        image = finite(image[..., :height, :width], "the restored image").clamp(0, 1)
        image = self.finish(image, upsampled, options)
        if small:
            image = resized(image, [SCALE * side for side in size])
        return image.clamp(0, 1).cpu()

    def finish(self, image: Tensor, upsampled: Tensor, options: RestoreSettings) -> Tensor:
        """Postprocess restored images after cropping; by default they stay as they are.

        Args:
            image: (B, 3, H, W) in [0, 1].
            upsampled: bicubic LR images of the same size, on `device`.
            options: as for `restore`.

        Returns:
            (B, 3, H, W), not clamped.
        """
        return image
