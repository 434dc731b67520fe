"""The VAE of Stable Diffusion as a codec: pixels in [0, 1] to scaled latents and back, in tiles where asked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from framer.backbones.codec import drawn


class VaeCodec(nn.Module):
    """A frozen `AutoencoderKL`. Gradients flow through it, not into it.

        encode:  z = (E(2 x - 1) - shift) * scale
        decode:  x = (D(z / scale + shift) + 1) / 2

    Attributes:
        vae: the model.
        factor: width of a latent position in pixels, 8 in Stable Diffusion.
        channels: number of latent channels, 4 in Stable Diffusion 2 and 16 in 3.
        scale, shift: normalize latents to unit variance.
        tile: side in pixels above which `decode` and `encode` work in overlapping tiles; None for never. Tiles bound
            the memory, and are not exact: the VAE's attention and group normalization work within a tile.
    """

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae.requires_grad_(False).eval()
        self.tile: int | None = None
        config: Any = vae.config
        self.factor: int = 2 ** (len(config.block_out_channels) - 1)
        self.channels: int = config.latent_channels
        self.scale: float = config.scaling_factor
        self.shift: float = config.shift_factor or 0.0

    def encode(self, image: Tensor, noise: Sequence[torch.Generator] | None = None) -> Tensor:
        """Images to scaled latents.

        Args:
            image: (B, 3, H, W) in [0, 1]; sides are multiples of `factor`.
            noise: one CPU generator per sample, to draw from the posterior; by default the posterior's mode.

        Returns:
            (B, C, H / factor, W / factor) float32.
        """
        return drawn(*self.posterior(image), noise)

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of scaled latents, each as `encode` returns them."""
        with self._tiled(image.shape[-2:]):
            posterior = self.vae.encode((image * 2 - 1).to(self.vae.dtype)).latent_dist
        return (posterior.mean.float() - self.shift) * self.scale, posterior.std.float() * self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) to images (B, 3, h factor, w factor) float32, about [0, 1], not clamped."""
        latent = latent / self.scale + self.shift
        with self._tiled([side * self.factor for side in latent.shape[-2:]]):
            image: Tensor = self.vae.decode(latent.to(self.vae.dtype), return_dict=False)[0]
        return (image.float() + 1) / 2

    @contextmanager
    def _tiled(self, size: Sequence[int]) -> Iterator[None]:
        if self.tile is None or max(size) <= self.tile:
            yield
            return
        # diffusers blends neighbors over a quarter of a tile, which must be a whole number of latents.
        side = max(4, self.tile // self.factor // 4 * 4)
        self.vae.tile_latent_min_size, self.vae.tile_sample_min_size = side, side * self.factor
        self.vae.enable_tiling()
        try:
            yield
        finally:
            self.vae.disable_tiling()
