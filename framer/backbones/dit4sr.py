"""DiT4SR (ICCV 2025): Stable Diffusion 3's transformer with an LR stream, restoring by rectified flow.

    z_t = (1 - sigma) z_0 + sigma eps,    v = eps - z_0,    z_0 = z_t - sigma v

`dit4sr_model` builds it, `dit4sr_training` has its loss and `dit4sr_restoring` its sampler.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from framer.backbones.base import Batch, Draws, StepLoss, resized, upsample
from framer.backbones.dit4sr_model import DiT4SRModel
from framer.backbones.dit4sr_restoring import Sampler
from framer.backbones.dit4sr_text import Text
from framer.backbones.dit4sr_training import Latents, Step, flow_loss, layer_velocities
from framer.backbones.dit4sr_transformer import DiT4SRTransformer
from framer.backbones.settings import DiT4SRRestore, RestoreSettings
from framer.data.presets import SCALE
from framer.method.prediction import compared
from framer.method.recipe import Space

if TYPE_CHECKING:
    from framer.method import FramerLoss

__all__ = ["DiT4SR", "DiT4SRTransformer"]

LONGEST = 4
"""Times `process_size` that a side may reach when a small image is enlarged."""


class DiT4SR(DiT4SRModel):
    """DiT4SR at any size: on Stable Diffusion 3.5, or tiny on a pixel codec without text.

    The tiny base is pretrained as a text-free SD3: the same flow loss on HR latents, without an LR stream.
    """

    @torch.no_grad()
    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Posteriors of the HR and of the upsampled LR latents; see `Latents`."""
        # The trainer's autocast must not reach the VAE: what a cache holds is made without it.
        with torch.autocast(self.device.type, enabled=False):
            hr, hr_std = self.codec.posterior(batch.hr.to(self.device))
            lr, lr_std = self.codec.posterior(upsample(batch.lr.to(self.device)))
        parts = {"hr": hr, "hr_std": hr_std, "lr": lr, "lr_std": lr_std}
        return {name: part for name, part in parts.items() if part is not None}

    def encode_prompt(self, prompt: str) -> dict[str, Tensor]:
        text = self.text.get([prompt], self.settings.text_tokens)
        self.text.forget(0)
        return {"tokens": text.tokens[0], "pooled": text.pooled[0]}

    def free_text(self) -> None:
        self.text.encoder.free()

    def remember(self, prompts: Callable[[str], Mapping[str, Tensor] | None]) -> None:
        def stored(prompt: str, tokens: int) -> Text | None:
            found = prompts(prompt) if tokens == self.settings.text_tokens else None
            return None if found is None else Text(found["tokens"][None], found["pooled"][None])

        self.text.stored = stored

    def _latents(self, batch: Batch) -> Latents:
        encoded = batch.encoded or self.encode(batch)
        return Latents(**{name: part.to(self.device) for name, part in encoded.items()})

    def pretraining_loss(self, batch: Batch) -> StepLoss:
        """The flow loss on HR latents without an LR stream and without text."""
        return flow_loss(self, self._latents(batch), ("",) * len(batch.stems), batch.draws, None, lr_stream=False)

    def training_loss(self, batch: Batch, framer: "FramerLoss | None" = None) -> StepLoss:
        return flow_loss(self, self._latents(batch), self._said(batch), batch.draws, framer)

    def layer_maps(self, batch: Batch, space: Space) -> tuple[list[Tensor], Tensor]:
        self.transformer.injection_scale = self.settings.injection_scale
        step = Step.drawn(self, self._latents(batch), self._said(batch), batch.draws)
        *students, teacher = compared(layer_velocities(self, step), space, "flow", step.noisy, step.sigma)
        return students, teacher

    def _said(self, batch: Batch) -> tuple[str, ...]:
        return tuple(self.filtered(self.prompts.get(stem, "")) for stem in batch.stems)

    def restore(
        self,
        upsampled: Tensor,
        draws: Draws,
        options: RestoreSettings,
        *,
        prompt: str = "",
        blank_lr: bool = False,
    ) -> Tensor:
        """Euler from seeded noise, one image after the other, in tiles where it is large; see `Sampler`."""
        assert isinstance(options, DiT4SRRestore)
        sampler = Sampler(self, options)
        alone = (Draws((numbers,), draws.shared) for numbers in draws.samples)
        pairs = zip(upsampled.split(1), alone, strict=True)
        images = [sampler.restore(image, numbers, prompt, blank_lr=blank_lr) for image, numbers in pairs]
        return torch.cat(images).to(upsampled.device)

    def restore_image(
        self,
        lr: Tensor,
        draws: Draws,
        options: RestoreSettings | None = None,
        *,
        prompt: str = "",
        blank_lr: bool = False,
    ) -> Tensor:
        """As `Backbone.restore_image`; a small image is enlarged before and reduced after, see `process_size`."""
        height, width = lr.shape[-2:]
        least = self.process_size / SCALE
        factor = min(least / min(height, width), max(1.0, LONGEST * least / max(height, width)))
        if factor > 1:
            size = [math.ceil(side * factor) for side in (height, width)]
            lr = resized(lr, size).clamp(0, 1)
        image = super().restore_image(lr, draws, options, prompt=prompt, blank_lr=blank_lr)
        if factor > 1:
            size = [SCALE * height, SCALE * width]
            image = resized(image, size).clamp(0, 1)
        return image
