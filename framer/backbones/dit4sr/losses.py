"""The training loss of DiT4SR: rectified flow on latents."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.nn.functional as F
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from framer.backbones.base import StepLoss
from framer.backbones.codec import drawn
from framer.backbones.dit4sr.text_encoder import Text
from framer.backbones.random import Draws

if TYPE_CHECKING:
    from framer.backbones.dit4sr.model import DiT4SR
    from framer.method.auxiliary import Auxiliary

SHIFT = 3.0
"""Shift of the noise levels in Stable Diffusion 3.5's scheduler."""

KEPT_PROMPTS = 1024
"""Number of embeddings that training keeps: an image is repeated late, if at all."""


@dataclass(frozen=True)
class Latents:
    """The posteriors of a batch of pairs; the standard deviations are None where encoding is exact.

    Attributes:
        hr, hr_std: posterior of the HR images' latents, (B, C, h, w).
        lr, lr_std: the same of the upsampled LR images.
    """

    hr: Tensor
    lr: Tensor
    hr_std: Tensor | None = None
    lr_std: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """The inputs of the network in a training step, and its target.

    Attributes:
        noisy: z_t, (B, C, h, w).
        lr: latents of the upsampled LR images, (B, C, h, w); None without the LR stream.
        sigma: (B,).
        text: embeddings of B prompts.
        clean: z_0, (B, C, h, w).
    """

    noisy: Tensor
    lr: Tensor | None
    sigma: Tensor
    text: Text
    clean: Tensor

    @classmethod
    def drawn(
        cls, model: "DiT4SR", latents: Latents, prompts: tuple[str, ...], draws: Draws, *, lr_stream: bool = True
    ) -> "Step":
        """Draw a training step.

        Each sample draws from its own generator, in this order: prompt dropout, the latents of the two posteriors,
        sigma, and the noise.
        """
        text = _text(model, prompts, draws)
        posterior = draws.samples if model.settings.posterior == "sample" else None
        clean = drawn(latents.hr, latents.hr_std, posterior)
        lr_latent = drawn(latents.lr, latents.lr_std, posterior) if lr_stream else None
        sigma = _levels(draws).to(clean.device)
        level = sigma.reshape(-1, 1, 1, 1)
        noisy = (1 - level) * clean + level * draws.normal(*clean.shape[1:]).to(clean.device)
        return cls(noisy, lr_latent, sigma, text, clean)

    def loss(self, velocity: Tensor) -> Tensor:
        """The mean squared error of z_t - sigma v against z_0; `velocity` is (B, C, h, w)."""
        return F.mse_loss(self.noisy - self.sigma.reshape(-1, 1, 1, 1) * velocity, self.clean)


def flow_loss(
    model: "DiT4SR",
    latents: Latents,
    prompts: tuple[str, ...],
    draws: Draws,
    framer: "Auxiliary | None",
    *,
    lr_stream: bool = True,
) -> StepLoss:
    """E[ (z_0 - (z_t - sigma v))^2 ], sigma = table[floor(1000 u)], u ~ sigmoid(N(0, 1)).

    Args:
        model: the backbone.
        latents: posteriors of the pairs.
        prompts: one per pair.
        draws: random numbers, see `Step.drawn`.
        framer: the loss on the blocks, or None.
        lr_stream: False for the base, which has no LR stream.
    """
    model.transformer.injection_scale = model.settings.injection_scale
    step = Step.drawn(model, latents, prompts, draws, lr_stream=lr_stream)
    if framer is None:
        loss = step.loss(model.velocity(step.noisy, step.lr, step.sigma, step.text))
        return StepLoss(loss, {"flow": loss.detach()})
    velocity, distilled = model.layers.with_framer(model, step, framer, draws)
    loss = step.loss(velocity)
    return StepLoss(loss + distilled, {"flow": loss.detach(), framer.recipe.term: distilled.detach()})


def _levels(draws: Draws) -> Tensor:
    """sigma, (B,): logit-normal positions in the shifted table of the sampler."""
    table = FlowMatchEulerDiscreteScheduler(shift=SHIFT).sigmas
    return table[(draws.normal().sigmoid() * len(table)).long().clamp(max=len(table) - 1)]


def _text(model: "DiT4SR", prompts: tuple[str, ...], draws: Draws) -> Text:
    """Embed the prompts, some of them replaced by the empty prompt."""
    kept = (draws.uniform() >= model.settings.null_text).tolist()
    used = [prompt if keep else "" for prompt, keep in zip(prompts, kept, strict=True)]
    text = model.text.get(used, model.settings.text_tokens)
    model.text.forget(but=KEPT_PROMPTS)
    return text.to(model.device, model.dtype)
