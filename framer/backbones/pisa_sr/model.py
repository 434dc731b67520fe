"""PiSA-SR (CVPR 2025): a text-to-image U-Net that restores in one step, adapted by two sets of LoRA.

The latent of the bicubic image is the network's input, and the network's noise prediction is the residual:

    z_H = z_L - eps(z_L, t = 1, prompt)

No noise is added and there is no sampler. The pixel set is trained first, by L2; then it is frozen, and the semantic
set is trained on top of it by LPIPS, classifier score distillation and L2. Restoring can weigh the two:

    eps = lambda_pix eps_pix + lambda_sem (eps_both - eps_pix)
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from framer.backbones.adapted_network import widened
from framer.backbones.base import Backbone, Batch, StepLoss
from framer.backbones.color_fix import match_color
from framer.backbones.finite import finite
from framer.backbones.image_ops import interpolate, upsample
from framer.backbones.pisa_sr.config import BASES, Parts
from framer.backbones.pisa_sr.lora import LoraSet, add_lora, lora_ranks, lora_sets, lora_state
from framer.backbones.pisa_sr.lora_file import (
    EMPTY_PROMPT,
    FORMS,
    LoraWeights,
    install,
    metadata,
    read_lora,
    write_lora,
)
from framer.backbones.pisa_sr.losses import Perceptual, csd
from framer.backbones.pisa_sr.prompts import Prompts
from framer.backbones.pisa_sr.restoring import tiled_residual
from framer.backbones.pisa_sr.settings import PiSASRRestore, PiSASRSettings
from framer.backbones.random import Draws
from framer.backbones.settings import FreeU, RestoreSettings, Settings
from framer.backbones.vae import VaeCodec
from framer.data.degradation.presets import SCALE
from framer.errors import UserError, unknown

if TYPE_CHECKING:
    from framer.method.auxiliary import Auxiliary
    from framer.method.recipe import Space

TIMESTEP = 1
TRAINS: Mapping[str, LoraSet] = MappingProxyType({"pixel": "pix", "semantic": "sem"})
"""The LoRA set that each stage trains."""


class PiSASR(Backbone):
    """PiSA-SR on a published pipeline, on the same architecture with random weights, or on a tiny one.

    The tiny base differs from Stable Diffusion in three ways. It is pretrained as a blind Gaussian denoiser in the
    residual form above: a U-Net of this size that predicts DDPM noise learns nothing in a minute that a LoRA could use.
    Its `conv_out` starts at zero, so that the untrained model returns its bicubic input. And the biases of `conv_in`
    start at unit variance: group normalization then keeps the amplitude of an image whose values are small beside them,
    which a regression of pixels needs.

    Attributes:
        codec: pixels to latents.
        folder: the published pipeline; None for our own or random weights.
        text: embeddings of prompts.
    """

    name = "pisa_sr"
    bases: ClassVar[Mapping[str, dict[str, Any]]] = BASES
    network: UNet2DConditionModel
    settings: PiSASRSettings

    def __init__(self, config: dict[str, Any], settings: Settings, parts: Parts | None = None):
        """Build from a configuration with random weights, or from existing `parts`."""
        super().__init__(config, settings)
        parts = parts or Parts.random(config)
        self.network, self.codec, self.folder, self.alphas = parts.unet, parts.codec, parts.folder, parts.alphas
        self.network.requires_grad_(self.folder is None)
        self.multiple, self.process_size = config["multiple"], config["process_size"]
        self.heads = nn.ModuleList()
        self.stage = "pixel"
        width = config["unet"]["cross_attention_dim"]
        empty = None if self.folder else torch.randn(1, config["prompt_tokens"], width)
        self.text = Prompts(self.folder, empty)
        if self.settings.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()
            if isinstance(self.codec, VaeCodec):
                self.codec.vae.enable_gradient_checkpointing()

    @classmethod
    def open(cls, folder: Path, settings: Settings) -> "PiSASR":
        """Read a diffusers pipeline with Stable Diffusion's U-Net, VAE, scheduler and text encoder.

        Raises:
            UserError: a part is missing or damaged, or it is another pipeline.
        """
        parts = Parts.read(folder)
        return cls(parts.config, settings, parts)

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> None:
        self.device, self.dtype = torch.device(device), dtype
        lora = lora_state(self.network)  # trained weights are not rounded, also those of an earlier stage
        for name, parameter in self.network.named_parameters():
            parameter.data = parameter.data.to(self.device, widened(dtype) if name in lora else dtype)
        self.heads.to(self.device, widened(dtype))
        self.text.to(self.device, dtype)
        if isinstance(self.codec, nn.Module):
            self.codec.to(self.device, dtype)
        if "_perceptual" in self.__dict__:
            self._perceptual.to(self.device)

    def base_state(self) -> dict[str, Tensor]:
        state = {**super().base_state(), EMPTY_PROMPT: self.text.kept[""]}
        if isinstance(self.codec, VaeCodec):
            state |= self.codec.state_dict()
        return state

    # Stages

    def adapt(self, stage: str) -> None:
        kind = TRAINS[stage]
        if kind not in lora_sets(self.network):
            add_lora(self.network, kind, {"pix": self.settings.rank_pix, "sem": self.settings.rank_sem}[kind])
        trained = lora_state(self.network, [kind])
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in trained)
            parameter.grad = None  # with a gradient of the last stage, an optimizer would move frozen weights
        self.stage = stage
        self.heads.requires_grad_(stage in self.settings.framer_stages)

    def prepare(self, stages: Sequence[str]) -> None:
        if "semantic" in stages and self.settings.lpips:
            self._perceptual.to(self.device)

    def adapter_state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = dict(lora_state(self.network))
        return state if self.folder is None else state | {EMPTY_PROMPT: self.text.get([""]).float().cpu()}

    def load_adapter(self, state: Mapping[str, Tensor], source: str) -> None:
        """Load a result of `adapter_state`, and add the LoRA sets that the network is missing."""
        lora = {name: tensor for name, tensor in state.items() if name != EMPTY_PROMPT}
        install(self.network, LoraWeights.of(lora, source), source)
        if EMPTY_PROMPT in state:
            self.text.kept[""] = state[EMPTY_PROMPT]

    def load_published(self, path: Path) -> tuple[dict[str, Any], list[str]]:
        """Load the released `pisa_sr.pkl`, or a file of `export`."""
        weights = read_lora(path)
        install(self.network, weights, str(path))
        ranks = {f"rank_{kind}": rank for kind, rank in weights.ranks.items()}
        return ranks, [stage for stage, kind in TRAINS.items() if kind in weights.ranks]

    @classmethod
    def export(cls, path: Path, out: Path, form: str, base: Path | None = None) -> None:
        if form not in FORMS:
            raise UserError(unknown("form", form, ("run", *FORMS)), key="--to", code="unknown")
        write_lora(read_lora(path), out, form)

    @property
    def metadata(self) -> dict[str, str]:
        return metadata(lora_ranks(self.network))

    def add_heads(self, space: "Space") -> None:
        """One 1x1 convolution per block, to the target `framer_maps`; see `new_heads`."""
        channels = self.config["unet"]["block_out_channels"]
        self.heads = self.layers.new_heads(channels, self.codec.channels, self.settings.framer_maps, space)
        self.heads.to(self.device)
        self.heads.requires_grad_(self.stage in self.settings.framer_stages)

    # The network

    def residual(self, latent: Tensor, text: Tensor | None = None) -> Tensor:
        """eps(z, t = 1, text) of the active LoRA sets, (B, C, h, w) float32; by default with the empty prompt."""
        return self.noise(latent, TIMESTEP, self.text.get([""] * len(latent)) if text is None else text)

    def noise(self, latent: Tensor, timestep: Tensor | int, text: Tensor) -> Tensor:
        """eps(z, t, text) of the active LoRA sets, (B, C, h, w) float32; `text` is (B, tokens, width)."""
        with self.autocast():
            predicted: Tensor = self.network(latent, timestep, encoder_hidden_states=text, return_dict=False)[0]
        return predicted.to(widened(predicted.dtype))

    # Training

    def pretraining_loss(self, batch: Batch) -> StepLoss:
        """Mean squared error of removing Gaussian noise of unknown level.

        The noise is white at the resolution of LR and is upsampled to that of HR like LR, by bicubic interpolation. Its
        level is uniform in [0, noise] per sample, in units of the pixel range [-1, 1].
        """
        height, width = batch.hr.shape[-2:]
        sigma = batch.draws.uniform().reshape(-1, 1, 1, 1) * self.config["noise"]
        noise = sigma * batch.draws.normal(3, height // SCALE, width // SCALE)
        noisy, latent = self.codec.encode(batch.hr + interpolate(noise) / 2), self.codec.encode(batch.hr)
        scale = self.config["codec"]["scale"]
        loss = F.mse_loss(self.residual(noisy), noisy - latent) / scale**2
        return StepLoss(loss, {"l2": loss.detach()})

    def training_loss(self, batch: Batch, framer: "Auxiliary | None" = None) -> StepLoss:
        """L2 in the pixel stage; L2, LPIPS and CSD in the semantic one; images in [-1, 1].

        A term of weight 0 is not computed. The U-Net's prompt is the photograph's tags, or empty with the probability
        `prompt_drop`; CSD always has the tags.
        """
        settings, draws = self.settings, batch.draws
        tags, text, start = self._conditioning(batch)
        framer = framer if self.stage in settings.framer_stages else None
        distilled: Tensor | None = None
        if framer:
            residual, distilled = self.layers.with_framer(self, batch, start, text, framer)
        else:
            residual = self.residual(start, text)
        clean = start - residual
        restored, target = self.codec.decode(clean).clamp(0, 1) * 2 - 1, batch.hr.to(self.device) * 2 - 1

        if framer and distilled is None:
            distilled = framer(restored, target).loss
        terms = {"l2": F.mse_loss(restored, target)}
        weights = {"l2": settings.l2}
        if self.stage == "semantic":
            weights = {"l2": settings.semantic_l2, "lpips": settings.lpips, "csd": settings.csd}
            if settings.lpips:
                with torch.autocast(self.device.type, enabled=False):
                    terms["lpips"] = self._perceptual(restored, target)
            if settings.csd:
                terms["csd"] = csd(self, clean, tags, draws)
        total = sum((weights[name] * term for name, term in terms.items() if weights[name]), torch.zeros(()))
        if framer and distilled is not None:
            total, terms[framer.recipe.term] = total + distilled, distilled
        return StepLoss(total, {name: term.detach() for name, term in terms.items()})

    def _conditioning(self, batch: Batch) -> tuple[list[str], Tensor, Tensor]:
        """Tags, their embeddings after prompt dropout, and z_L."""
        settings, draws = self.settings, batch.draws
        tags = [self.prompts.get(stem, "") for stem in batch.stems]
        dropped = (draws.uniform() < settings.prompt_drop).tolist()
        text = self.text.get(["" if drop else tag for tag, drop in zip(tags, dropped, strict=True)])
        with torch.no_grad():
            posterior = draws.samples if settings.posterior == "sample" else None
            start = self.codec.encode(upsample(batch.lr.to(self.device)), posterior)
        return tags, text, start

    def layer_maps(self, batch: Batch, space: "Space") -> tuple[list[Tensor], Tensor]:
        _, text, start = self._conditioning(batch)
        _, students, teacher = self.layers.layer_maps(self, start, text, space)
        return students, teacher

    def fit_heads(self, batches: Iterable[Batch]) -> None:
        def projected(batch: Batch) -> tuple[list[Tensor], Tensor]:
            _, text, start = self._conditioning(batch)
            forward, target = lambda: self.residual(start, text), self.settings.framer_maps
            _, features, teacher = self.layers.projected(self.network, forward, target)
            return features, teacher

        self.layers.AlignmentHeads.fit(self.heads, map(projected, batches))

    @cached_property
    def _perceptual(self) -> Perceptual:
        return Perceptual.from_weights().to(self.device)

    # Restoring

    def enable_freeu(self, factors: FreeU) -> None:
        self.network.enable_freeu(**factors.model_dump())

    def finish(self, image: Tensor, upsampled: Tensor, options: RestoreSettings) -> Tensor:
        assert isinstance(options, PiSASRRestore)
        return match_color(image, upsampled, options.color)

    @torch.no_grad()
    def restore(
        self, upsampled: Tensor, draws: Draws, options: RestoreSettings, *, prompt: str = "", blank_lr: bool = False
    ) -> Tensor:
        """As `Backbone.restore`. Like the released model, it always restores with the empty prompt."""
        assert isinstance(options, PiSASRRestore)
        if isinstance(self.codec, VaeCodec):
            self.codec.tile = options.vae_tile
        start = self.codec.encode(upsampled.to(self.device), draws.samples if options.posterior == "sample" else None)
        start = torch.zeros_like(start) if blank_lr else start
        residual = finite(tiled_residual(self, start, options), "step 1 of 1")
        return finite(self.codec.decode(start - residual), "the decoded image")
