"""PiSA-SR (CVPR 2025): a text-to-image U-Net that restores in one step, adapted by LoRA.

The bicubic image is taken for a noisy latent of the last timestep, and the network's noise prediction for the residual:

    z_H = z_L - eps(z_L, t = 1, empty prompt)

No noise is added and there is no sampler. This module holds the pixel-level LoRA, which is trained by the L2 loss.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from framer.backbones.base import SCALE, Backbone, Batch, Draws, StepLoss, load_exactly, upsample, zeroed
from framer.backbones.codec import PixelCodec
from framer.backbones.settings import RestoreSettings, Settings
from framer.errors import UserError
from framer.method import FramerLoss
from framer.method.heads import AlignmentHeads
from framer.method.prediction import compared
from framer.method.taps import record

TIMESTEP = 1
BLOCKS = ("down_blocks.*", "mid_block", "up_blocks.*")
"""The layers that FRAMER teaches, by their names in the U-Net."""
ALPHA = 8
"""LoRA alpha of the released weights: at rank 4 the update is scaled by alpha / rank = 2."""

TARGETS = (
    "to_k",
    "to_q",
    "to_v",
    "to_out.0",
    "conv",
    "conv1",
    "conv2",
    "conv_in",
    "conv_shortcut",
    "conv_out",
    "proj_out",
    "proj_in",
    "ff.net.2",
    "ff.net.0.proj",
)
"""A weight gets LoRA when its name contains one of these and neither "bias" nor "norm"."""

TINY: dict[str, Any] = {
    "codec": {"factor": 4, "scale": 1.0},
    "prompt_tokens": 4,
    "noise": 0.5,
    "rank": 4,
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


class PiSASR(Backbone):
    """PiSA-SR on a pixel codec.

    The tiny base differs from Stable Diffusion in three ways. It is pretrained as a blind Gaussian denoiser in the
    residual form above: a U-Net of this size that predicts DDPM noise learns nothing in a minute that a LoRA could use.
    Its `conv_out` starts at zero, so that the untrained model returns its bicubic input. And the biases of `conv_in`
    start at unit variance: group normalisation then keeps the amplitude of an image whose values are small beside them,
    which a regression of pixels needs.
    """

    name = "pisa_sr"
    bases: ClassVar[Mapping[str, dict[str, Any]]] = MappingProxyType({"tiny": TINY})
    network: UNet2DConditionModel

    def __init__(self, config: dict[str, Any], settings: Settings):
        super().__init__(config, settings)
        self.codec = PixelCodec(**config["codec"])
        unet = config["unet"]
        channels = self.codec.channels
        self.network = UNet2DConditionModel(in_channels=channels, out_channels=channels, **unet)
        nn.init.normal_(self.network.get_parameter("conv_in.bias"))
        zeroed(self.network.conv_out)
        self.prompt = torch.randn(1, config["prompt_tokens"], unet["cross_attention_dim"])
        self.heads = nn.ModuleList()
        self.multiple = self.codec.factor * 2 ** (len(unet["block_out_channels"]) - 1)

    def base_state(self) -> dict[str, Tensor]:
        return {**super().base_state(), "empty_prompt": self.prompt}

    def adapt(self, stage: str) -> None:
        add_lora(self.network, self.config["rank"])

    def adapter_state(self) -> dict[str, Tensor]:
        return lora_state(self.network)

    def add_heads(self) -> None:
        """A 1x1 convolution to latent channels a block; at zero, so that every student starts as the bicubic image."""
        channels = self.config["unet"]["block_out_channels"]
        widths = (*channels, channels[-1], *reversed(channels))
        self.heads = zeroed(AlignmentHeads(widths, self.codec.channels))

    def residual(self, latent: Tensor) -> Tensor:
        """eps(z, t = 1, empty prompt), (B, C, h, w)."""
        prompt = self.prompt.expand(len(latent), -1, -1)
        predicted: Tensor = self.network(latent, TIMESTEP, encoder_hidden_states=prompt, return_dict=False)[0]
        return predicted

    def pretraining_loss(self, batch: Batch) -> StepLoss:
        """Mean squared error of removing Gaussian noise of a level that the network is not told.

        The noise is white at the resolution of LR and comes to that of HR as LR does, by bicubic interpolation. Its
        level is uniform in [0, noise] a sample, in units of the pixel range [-1, 1].
        """
        height, width = batch.hr.shape[-2:]
        sigma = batch.draws.uniform().reshape(-1, 1, 1, 1) * self.config["noise"]
        noise = sigma * batch.draws.normal(3, height // SCALE, width // SCALE)
        noise = F.interpolate(noise, scale_factor=SCALE, mode="bicubic", align_corners=False)
        noisy, latent = self.codec.encode(batch.hr + noise / 2), self.codec.encode(batch.hr)
        loss = F.mse_loss(self.residual(noisy), noisy - latent) / self.codec.scale**2
        return StepLoss(loss, {"l2": loss.detach()})

    def training_loss(self, batch: Batch, framer: FramerLoss | None = None) -> StepLoss:
        """L2 between the restored and the true image in [-1, 1]."""
        start = self.codec.encode(upsample(batch.lr))
        if framer is None:
            residual, students = self.residual(start), []
        else:
            with record(self.network, BLOCKS) as taps:
                residual = self.residual(start)
                students = self.heads(list(taps.take().values()), residual.shape[-2:])
        loss = F.mse_loss(self.codec.decode(start - residual) * 2, batch.hr * 2)
        if framer is None:
            return StepLoss(loss, {"l2": loss.detach()})
        one = torch.ones(())  # z_L = z_H + residual: alpha = sigma = 1
        *students, teacher = compared([*students, residual], framer.recipe.space, "epsilon", start, one, one)
        distilled = framer(students, teacher, generator=batch.draws.shared).loss
        return StepLoss(loss + distilled, {"l2": loss.detach(), "framer": distilled.detach()})

    def restore(self, upsampled: Tensor, draws: Draws, options: RestoreSettings, *, blank_lr: bool = False) -> Tensor:
        start = self.codec.encode(upsampled)
        start = torch.zeros_like(start) if blank_lr else start
        return self.codec.decode(start - self.residual(start))


def lora_targets(unet: nn.Module) -> dict[str, list[str]]:
    """The modules of a U-Net that get LoRA, as full dotted names, in the three groups of the released adapters."""
    groups: dict[str, list[str]] = {"encoder": [], "decoder": [], "others": []}
    for name, _ in unet.named_parameters():
        if "bias" in name or "norm" in name or not any(target in name for target in TARGETS):
            continue
        if "down_blocks" in name or "conv_in" in name:
            group = "encoder"
        elif "up_blocks" in name or "conv_out" in name:
            group = "decoder"
        else:
            group = "others"
        groups[group].append(name.removesuffix(".weight"))
    return groups


def add_lora(unet: UNet2DConditionModel, rank: int) -> None:
    """Freeze a U-Net and add the adapters `default_{encoder,decoder,others}_pix`; B = 0, so they change nothing yet."""
    unet.requires_grad_(False)
    targets = {f"default_{group}_pix": modules for group, modules in lora_targets(unet).items()}
    for adapter, modules in targets.items():
        config = LoraConfig(r=rank, lora_alpha=ALPHA, init_lora_weights="gaussian", target_modules=modules)
        with warnings.catch_warnings():  # that there is an adapter already: there are to be three
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            unet.add_adapter(config, adapter_name=adapter)
    unet.set_adapters(list(targets))


def lora_state(unet: nn.Module) -> dict[str, Tensor]:
    """The LoRA tensors of a U-Net, by the names of the released checkpoint."""
    return {name: parameter for name, parameter in unet.named_parameters() if ".lora_" in name}


def load_lora(unet: UNet2DConditionModel, path: Path) -> None:
    """Add the adapters to a base U-Net if it has none, and load their weights.

    Args:
        unet: a base, or one that `add_lora` has adapted at the same rank.
        path: safetensors with the names of `lora_state`.

    Raises:
        UserError: the file cannot be read, or its tensors do not fit this U-Net.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error})") from None
    if not lora_state(unet):
        ranks = {tensor.shape[0] for name, tensor in state.items() if ".lora_A." in name}
        if len(ranks) != 1:
            raise UserError(f"{path}: no LoRA weights of one rank in it")
        add_lora(unet, ranks.pop())
    load_exactly(lora_state(unet), state, str(path))
