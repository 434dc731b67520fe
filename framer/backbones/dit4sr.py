"""DiT4SR (ICCV 2025): Stable Diffusion 3's transformer with an LR stream, restoring by rectified flow.

    z_t = (1 - sigma) z_0 + sigma eps,    v = eps - z_0,    z_0 = z_t - sigma v

Training draws sigma from the shifted table of the sampler; restoring integrates v from noise with Euler steps.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import CombinedTimestepTextProjEmbeddings, PatchEmbed
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import AdaLayerNormContinuous
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from framer.backbones.base import SCALE, Backbone, Batch, Draws, StepLoss, upsample
from framer.backbones.codec import PixelCodec
from framer.backbones.dit4sr_blocks import ControlTransformerBlock, Key
from framer.backbones.settings import DiT4SRRestore, RestoreSettings, Settings
from framer.errors import UserError
from framer.method import FramerLoss
from framer.method.heads import final_projection, unpatchify
from framer.method.prediction import compared, to_x0
from framer.method.taps import record

BLOCKS = ("transformer_blocks.*",)
"""The layers that FRAMER teaches, by their names in the transformer."""

SHIFT = 3.0
"""Shift of the noise levels in Stable Diffusion 3.5's scheduler."""

TINY: dict[str, Any] = {
    "codec": {"factor": 4, "scale": 2.0},
    "text_tokens": 1,
    "transformer": {
        "sample_size": 32,
        "patch_size": 2,
        "num_layers": 3,
        "attention_head_dim": 64,
        "num_attention_heads": 3,
        "joint_attention_dim": 32,
        "caption_projection_dim": 192,
        "pooled_projection_dim": 32,
        "pos_embed_max_size": 64,
        "dual_attention_layers": [0],
        "qk_norm": "rms_norm",
        "injection_scale": 1.0,
    },
}


class DiT4SR(Backbone):
    """DiT4SR on a pixel codec, without text: a fixed zero embedding stands for the prompt.

    The tiny base is pretrained as a text-free SD3: the same flow loss on HR latents, without an LR stream.
    """

    name = "dit4sr"
    bases: ClassVar[Mapping[str, dict[str, Any]]] = MappingProxyType({"tiny": TINY})
    network: DiT4SRTransformer

    def __init__(self, config: dict[str, Any], settings: Settings):
        super().__init__(config, settings)
        self.codec = PixelCodec(**config["codec"])
        transformer = config["transformer"]
        channels = self.codec.channels
        self.network = DiT4SRTransformer(in_channels=channels, out_channels=channels, **transformer)
        self.heads = nn.ModuleList()
        self.multiple = self.codec.factor * self.network.patch_size
        self.limit = self.multiple * transformer["pos_embed_max_size"]
        self.text = torch.zeros(1, config["text_tokens"], transformer["joint_attention_dim"])
        self.pooled = torch.zeros(1, transformer["pooled_projection_dim"])

    def adapt(self, stage: str) -> None:
        """Train the control weights, but for the key projections that the released key leaves dead."""
        for name, parameter in self.network.named_parameters():
            dead = self.network.key == "released" and "to_k_control" in name
            parameter.requires_grad_("control" in name and not dead)

    def add_heads(self) -> None:
        """None: every block is read through the model's own last projection."""

    def adapter_state(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def velocity(self, noisy: Tensor, lr_latent: Tensor | None, sigma: Tensor) -> Tensor:
        """v(z_t, z_LR, sigma) with the empty prompt; noisy (B, C, h, w), sigma (B,)."""
        text, pooled = (x.expand(len(noisy), *x.shape[1:]) for x in (self.text, self.pooled))
        velocity: Tensor = self.network(noisy, lr_latent, text, pooled, sigma * 1000)
        return velocity

    def pretraining_loss(self, batch: Batch) -> StepLoss:
        return self._flow_loss(batch.hr, None, batch.draws, None)

    def training_loss(self, batch: Batch, framer: FramerLoss | None = None) -> StepLoss:
        return self._flow_loss(batch.hr, self.codec.encode(upsample(batch.lr)), batch.draws, framer)

    def _flow_loss(self, hr: Tensor, lr_latent: Tensor | None, draws: Draws, framer: FramerLoss | None) -> StepLoss:
        """E[ (z_0 - (z_t - sigma v))^2 ], sigma = table[floor(1000 u)], u ~ sigmoid(N(0, 1))."""
        clean = self.codec.encode(hr)
        table = FlowMatchEulerDiscreteScheduler(shift=SHIFT).sigmas
        sigma = table[(draws.normal().sigmoid() * len(table)).long().clamp(max=len(table) - 1)]
        level = sigma.reshape(-1, 1, 1, 1)
        noisy = (1 - level) * clean + level * draws.normal(*clean.shape[1:])
        students: list[Tensor] = []
        if framer is None:
            velocity = self.velocity(noisy, lr_latent, sigma)
        else:
            with record(self.network, (*BLOCKS, "time_text_embed")) as taps:
                velocity = self.velocity(noisy, lr_latent, sigma)
                temb, *blocks = taps.take().values()
            h, w = (side // self.network.patch_size for side in velocity.shape[-2:])
            students = final_projection(self.network, [image[:, : h * w] for image in blocks], temb, (h, w))
        loss = F.mse_loss(to_x0(velocity, "flow", noisy, sigma), clean)
        if framer is None:
            return StepLoss(loss, {"flow": loss.detach()})
        *students, teacher = compared([*students, velocity], framer.recipe.space, "flow", noisy, sigma)
        distilled = framer(students, teacher, generator=draws.shared).loss
        return StepLoss(loss + distilled, {"flow": loss.detach(), "framer": distilled.detach()})

    def restore(self, upsampled: Tensor, draws: Draws, options: RestoreSettings, *, blank_lr: bool = False) -> Tensor:
        """Euler from seeded noise.

        Raises:
            UserError: the image is larger than the position codes reach.
        """
        height, width = upsampled.shape[-2:]
        if max(height, width) > self.limit:
            side = self.limit // SCALE
            raise UserError(f"LR of {width // SCALE} x {height // SCALE}: this base restores at most {side} a side")
        lr_latent = self.codec.encode(upsampled)
        lr_latent = torch.zeros_like(lr_latent) if blank_lr else lr_latent
        scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
        assert isinstance(options, DiT4SRRestore)
        scheduler.set_timesteps(options.steps)
        latent = draws.normal(*lr_latent.shape[1:])
        for sigma, following in zip(scheduler.sigmas[:-1], scheduler.sigmas[1:], strict=True):
            velocity = self.velocity(latent, lr_latent, sigma.expand(len(latent)))
            latent = latent + (following - sigma) * velocity
        return self.codec.decode(latent)
