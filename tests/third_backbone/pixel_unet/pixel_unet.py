"""A third backbone, in a package of its own: a plain diffusers U-Net on pixels that restores in one step.

    x_H = x_L - eps(x_L)        x_L: the bicubic image in [-1, 1]

The base is a blind denoiser. Training fine-tunes its decoder; FRAMER's students are all blocks, as of PiSA-SR.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import UNet2DModel
from pydantic import Field
from torch import Tensor, nn

from framer.backbones.adapted_network import widened
from framer.backbones.base import Backbone, Batch, StepLoss
from framer.backbones.image_ops import upsample
from framer.backbones.random import Draws
from framer.backbones.settings import RestoreSettings, Settings
from framer.backbones.state_dict import zeroed
from framer.method import AlignmentHeads, FramerLoss, compared, record

BLOCKS = ("down_blocks.*", "mid_block", "up_blocks.*")
"""The layers that FRAMER teaches, by their names in the U-Net."""

DECODER = ("up_blocks.", "conv_norm_out.", "conv_out.")
"""What training moves: the parameters whose names start like this."""


class PixelUNetRestore(RestoreSettings):
    """How it restores."""

    strength: float = Field(default=1.0, ge=0, description="share of the residual that is removed")


class PixelUNetSettings(Settings):
    """What a study may set of it."""

    backbone = "pixel_unet:PixelUNet"
    stages = ("decoder",)

    charbonnier: float = Field(default=1e-3, gt=0, description="rounding of the loss at zero, in units of [-1, 1]")
    restore: PixelUNetRestore = PixelUNetRestore()


class PixelUNet(Backbone):
    """See the module."""

    name = "pixel_unet"
    bases: ClassVar[Mapping[str, dict[str, Any]]] = {"tiny": {"channels": [8, 16], "noise": 0.2}}

    settings: PixelUNetSettings
    network: UNet2DModel

    def __init__(self, config: dict[str, Any], settings: Settings):
        super().__init__(config, settings)
        channels = config["channels"]
        self.network = UNet2DModel(
            block_out_channels=channels,
            down_block_types=["DownBlock2D"] * len(channels),
            up_block_types=["UpBlock2D"] * len(channels),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=None,
            add_attention=False,
        )
        zeroed(self.network.conv_out)  # untrained, it is bicubic interpolation
        self.multiple = 2 ** (len(channels) - 1)
        self.heads = nn.ModuleList()

    @property
    def tiny(self) -> bool:
        return True

    def adapt(self, stage: str) -> None:
        trained = self.adapter_state()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in trained)

    def adapter_state(self) -> dict[str, Tensor]:
        state = self.network.state_dict()
        return {name: tensor for name, tensor in state.items() if name.startswith(DECODER)}

    def add_heads(self, space: str) -> None:
        channels = self.config["channels"]
        widths = (*channels, channels[-1], *reversed(channels))
        self.heads = zeroed(AlignmentHeads(widths, self.network.config.out_channels)).to(self.device)

    def residual(self, image: Tensor) -> Tensor:
        """eps(x), (B, 3, H, W), of images in [-1, 1]."""
        with self.autocast():
            predicted: Tensor = self.network(image, 0, return_dict=False)[0]
        return predicted.to(widened(predicted.dtype))

    def pretraining_loss(self, batch: Batch) -> StepLoss:
        level = batch.draws.uniform().reshape(-1, 1, 1, 1) * self.config["noise"]
        clean = batch.hr.to(self.device) * 2 - 1
        noisy = clean + (level * batch.draws.normal(*clean.shape[1:])).to(self.device)
        loss = self._distance(noisy - self.residual(noisy), clean)
        return StepLoss(loss, {"charbonnier": loss.detach()})

    def training_loss(self, batch: Batch, framer: FramerLoss | None = None) -> StepLoss:
        start, clean = upsample(batch.lr.to(self.device)) * 2 - 1, batch.hr.to(self.device) * 2 - 1
        if framer is None:
            loss = self._distance(start - self.residual(start), clean)
            return StepLoss(loss, {"charbonnier": loss.detach()})
        with record(self.network, BLOCKS) as recorder:
            residual = self.residual(start)
            maps = [*self.heads(list(recorder.take().values()), residual.shape[-2:]), residual]
        one = torch.ones(())  # x_L = x_H + residual: alpha = sigma = 1
        *students, teacher = compared(maps, framer.recipe.space, "epsilon", start, one, one)
        loss = self._distance(start - residual, clean)
        distilled = framer(students, teacher, generator=batch.draws.shared).loss
        return StepLoss(loss + distilled, {"charbonnier": loss.detach(), "framer": distilled.detach()})

    def _distance(self, image: Tensor, target: Tensor) -> Tensor:
        return ((image - target).square() + self.settings.charbonnier**2).sqrt().mean()

    @torch.no_grad()
    def restore(
        self, upsampled: Tensor, draws: Draws, options: RestoreSettings, *, prompt: str = "", blank_lr: bool = False
    ) -> Tensor:
        assert isinstance(options, PixelUNetRestore)
        start = upsampled.to(self.device) * 2 - 1
        start = torch.zeros_like(start) if blank_lr else start
        return ((start - options.strength * self.residual(start) + 1) / 2).cpu()
