"""Configurations of PiSA-SR, tiny and full, and the parts of a published pipeline."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from framer.backbones.codec import Codec, PixelCodec
from framer.backbones.loading import read_part
from framer.backbones.state_dict import zeroed
from framer.backbones.vae import VaeCodec
from framer.errors import UserError, one_line

SCHEDULER: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""The noise levels on which Stable Diffusion was trained, 1000 of them."""

TINY: dict[str, Any] = {
    "codec": {"factor": 4, "scale": 1.0},
    "multiple": 8,
    "process_size": 1,
    "prompt_tokens": 4,
    "noise": 0.5,
    "unet": {
        "block_out_channels": [64, 64],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "use_linear_projection": True,
    },
}

FULL: dict[str, Any] = {
    "multiple": 8,
    "process_size": 512,
    "prompt_tokens": 77,
    "vae": {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "sample_size": 768,
    },
    "unet": {
        "sample_size": 64,
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
}
"""Stable Diffusion 2.1-base, with the process size of the released code."""


@dataclass(frozen=True)
class Parts:
    """The frozen parts of a backbone, and the configuration that describes them.

    Attributes:
        config: JSON-able: `codec` or `vae`, `unet`, `prompt_tokens`, `multiple` and `process_size` as of `Backbone`.
        folder: the pipeline with the text encoder; None where prompts are random.
        alphas: abar of the noise schedule, (1000,).
    """

    config: dict[str, Any]
    unet: UNet2DConditionModel
    codec: Codec
    folder: Path | None
    alphas: Tensor

    @classmethod
    def random(cls, config: dict[str, Any]) -> "Parts":
        """Create random weights from torch's default generator."""
        codec: Codec = PixelCodec(**config["codec"]) if "codec" in config else VaeCodec(AutoencoderKL(**config["vae"]))
        channels = codec.channels
        unet = UNet2DConditionModel(**{"in_channels": channels, "out_channels": channels} | config["unet"])
        if "codec" in config:
            nn.init.normal_(unet.get_parameter("conv_in.bias"))
            zeroed(unet.conv_out)
        return cls(config, unet, codec, None, torch.as_tensor(DDPMScheduler(**SCHEDULER).alphas_cumprod))

    @classmethod
    def read(cls, folder: Path) -> "Parts":
        """Read `unet`, `vae` and `scheduler` of a diffusers pipeline, in float32. Its text encoder is read when needed.

        Raises:
            UserError: a part is missing or damaged, or the U-Net does not predict noise from its codec's latents.
        """
        unet = read_part(UNet2DConditionModel, folder / "unet")
        vae = read_part(AutoencoderKL, folder / "vae")
        try:
            scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"cannot be read ({one_line(error)}); fetch the base again",
                path=folder / "scheduler",
                code="unreadable",
            ) from None
        if scheduler.config.prediction_type != "epsilon":
            kind = scheduler.config.prediction_type
            raise UserError(f"it predicts {kind!r}; PiSA-SR requires 'epsilon', as in the 512-pixel base", path=folder)
        codec = VaeCodec(vae)
        if unet.config.in_channels != codec.channels or unet.config.out_channels != codec.channels:
            raise UserError(
                "its U-Net and its VAE differ in their latent channels; not a base of PiSA-SR",
                path=folder,
                code="mismatch",
            )
        config = {key: FULL[key] for key in ("multiple", "process_size", "prompt_tokens")}
        config |= {part: _config(folder / part) for part in ("vae", "unet")}
        return cls(config, unet, codec, folder, scheduler.alphas_cumprod)


BASES = MappingProxyType({"tiny": TINY, "random": FULL})


def _config(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {key: value for key, value in read.items() if not key.startswith("_")}
