"""Restoring with DiT4SR: Euler steps from noise, guided by text, in overlapping tiles where the image is large."""

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from framer.backbones.color_fix import match_color
from framer.backbones.dit4sr.losses import SHIFT
from framer.backbones.dit4sr.settings import DiT4SRRestore
from framer.backbones.dit4sr.text_encoder import Text
from framer.backbones.dit4sr.transformer import move
from framer.backbones.finite import finite
from framer.backbones.random import Draws
from framer.backbones.tiling import Corner, Tiles
from framer.backbones.vae import VaeCodec
from framer.errors import UserError

if TYPE_CHECKING:
    from framer.backbones.dit4sr.model import DiT4SR


class Sampler:
    """Restores single images with a backbone.

        v = v_neg + g (v_pos - v_neg),    z <- z + (sigma_next - sigma) v

    Both halves of the guidance have the same LR latent, which is drawn from the VAE's posterior once. Guidance between
    equal texts is the identity, and is skipped.
    """

    def __init__(self, model: "DiT4SR", options: DiT4SRRestore):
        self.model, self.options = model, options
        self.network = model.transformer

    def restore(self, upsampled: Tensor, draws: Draws, prompt: str, *, blank_lr: bool = False) -> Tensor:
        """Restore one image.

        Args:
            upsampled: bicubic, (1, 3, H, W) in [0, 1]; sides are multiples of the model's.
            draws: random numbers of the posterior, then of the noise.
            prompt: description of the image.
            blank_lr: replace the LR latent by zeros.

        Returns:
            (1, 3, H, W), not clamped.

        Raises:
            UserError: positions are global and the image is larger than the table of position codes.
        """
        model, options = self.model, self.options
        self._prepare()
        upsampled = upsampled.to(model.device)
        posterior = draws.samples if options.posterior == "sample" else None
        lr_latent = model.codec.encode(upsampled, posterior)
        latent = draws.normal(*lr_latent.shape[1:]).to(model.device)
        lr_latent = torch.zeros_like(lr_latent) if blank_lr else lr_latent
        latent = self._integrate(latent, lr_latent, self._texts(prompt))
        return match_color(model.codec.decode(latent), upsampled, options.color)

    def _prepare(self) -> None:
        """Configure the network for the options. In training, it is neither fused nor converted."""
        self.network.injection_scale = self.options.injection_scale
        if self.network.fused and not self.options.fuse:
            raise UserError("the projections of this model are already merged; open it again", key="fuse")
        if not self.network.training:
            if self.options.fuse:
                self.network.fuse_for_inference()
            move(self.network, self.model.device, self.model.dtype)
        if isinstance(self.model.codec, VaeCodec):
            self.model.codec.tile = self.options.vae_tile

    def _texts(self, prompt: str) -> tuple[Text, ...]:
        """Negative and positive text, or one without guidance. All prompts are encoded at once."""
        model, options = self.model, self.options

        def complete(text: str) -> str:
            return f"{model.filtered(text)} {options.positive}".strip()

        known = (complete(caption) for caption in model.prompts.values())
        model.text.learn((options.negative, complete(prompt), *known), options.text_tokens)
        model.text.encoder.free()
        names = (options.negative, complete(prompt)) if options.guidance != 1 else (complete(prompt),)
        texts = [model.text.get([name], options.text_tokens) for name in names]
        if len(texts) == 2 and texts[0].equal(texts[1]):
            texts = texts[1:]
        return tuple(text.to(model.device, model.dtype) for text in texts)

    def _integrate(self, latent: Tensor, lr_latent: Tensor, texts: tuple[Text, ...]) -> Tensor:
        """Euler's steps over the shifted table of sigmas; (1, C, h, w) in and out, float32."""
        height, width = latent.shape[-2:]
        tiles = Tiles.plan(height, width, self.options.tile, self.options.overlap)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
        scheduler.set_timesteps(self.options.steps)
        sigmas = scheduler.sigmas.to(latent.device)
        for number, (sigma, following) in enumerate(pairwise(sigmas), 1):

            def velocity(corners: tuple[Corner, ...], noisy: Tensor = latent, sigma: Tensor = sigma) -> Tensor:
                return self._velocity(tiles, corners, noisy, lr_latent, sigma, texts)

            latent = latent + (following - sigma) * tiles.blend(velocity, self.options.tile_batch)
            finite(latent, f"step {number} of {self.options.steps}")
        return latent

    def _velocity(
        self,
        tiles: Tiles,
        corners: tuple[Corner, ...],
        latent: Tensor,
        lr_latent: Tensor,
        sigma: Tensor,
        texts: tuple[Text, ...],
    ) -> Tensor:
        """The guided velocity of some tiles, (tiles, C, h, w)."""
        count, ways = len(corners), len(texts)
        noisy, lr = (tiles.cut(image, corners).repeat(ways, 1, 1, 1) for image in (latent, lr_latent))
        codes = None
        if self.options.positions == "global" and not tiles.single:
            size = (tiles.height, tiles.width)
            codes = self.network.codes_at(size, list(corners), tiles.size).repeat(ways, 1, 1)
        text = Text.cat([text.expand(count) for text in texts])
        predicted = self.model.velocity(noisy, lr, sigma.expand(count * ways), text, codes)
        if ways == 1:
            return predicted
        negative, positive = predicted.chunk(2)
        return negative + self.options.guidance * (positive - negative)
