"""A base network and the weights that training adds to it: precision, and states to load and save."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from framer.backbones.settings import Settings
from framer.backbones.state_dict import load_exactly
from framer.errors import UserError


def widened(dtype: torch.dtype) -> torch.dtype:
    """The dtype of trained weights and of losses: float32 under 16-bit arithmetic, else the dtype itself."""
    return torch.promote_types(dtype, torch.float32)


class AdaptedNetwork(ABC):
    """A base network with trained weights on top, the part of a backbone that is loaded and saved.

    It starts with random weights (torch's default generator), as a base: all of its weights are trainable. After
    `adapt` the base is frozen, and only weights of `adapter_state` train, those of one stage at a time.

    Attributes:
        name: its key in the registry and in study files.
        bases: configurations that can be built from random weights, by their names in study files.
        config: the configuration of the network, JSON-able.
        settings: the study's settings of this backbone.
        network: the network that restores.
        heads: modules that FRAMER needs in training besides `network`; never saved, never used for restoring.
    """

    name: ClassVar[str]
    bases: ClassVar[Mapping[str, dict[str, Any]]]

    network: nn.Module
    heads: nn.Module

    def __init__(self, config: dict[str, Any], settings: Settings):
        self.config, self.settings = config, settings
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

    @property
    def tiny(self) -> bool:
        """Whether this is a small configuration on a pixel codec, which always runs on CPUs."""
        return "codec" in self.config

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of the model's safetensors; a single entry, since the order of entries is not fixed."""
        return {"format": "pt"}

    @classmethod
    def open(cls, folder: Path, settings: Settings) -> Self:
        """Build the model on a published pipeline in diffusers' layout, with its weights.

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
