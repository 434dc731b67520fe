"""The map between pixels and latents: a VAE at full size, an exact reshaping in the tiny configurations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F


class Codec(Protocol):
    """Pixels to latents and back.

    Attributes:
        factor: width of a latent position in pixels; image sides must be multiples of it.
        channels: number of latent channels.
    """

    @property
    def factor(self) -> int: ...

    @property
    def channels(self) -> int: ...

    def encode(self, image: torch.Tensor, noise: Sequence[torch.Generator] | None = None) -> torch.Tensor:
        """Encode (B, 3, H, W) in [0, 1] as latents (B, channels, H / factor, W / factor), about unit variance, float32.

        For stochastic encoders, `noise` has one CPU generator per sample; without it, the mode is returned.
        """

    def posterior(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return mean and standard deviation of latents, each as `encode` returns them; None where exact."""

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Decode (B, channels, h, w) to (B, 3, h factor, w factor) float32, about [0, 1], not clamped."""


def drawn(mean: torch.Tensor, std: torch.Tensor | None, noise: Sequence[torch.Generator] | None) -> torch.Tensor:
    """Draw latents of a posterior, mean + std * noise, one CPU generator per sample; the mean when either is None."""
    if std is None or noise is None:
        return mean
    numbers = torch.stack([torch.randn(mean.shape[1:], generator=one) for one in noise])
    return mean + std * numbers.to(mean.device)


@dataclass(frozen=True)
class PixelCodec:
    """Space-to-depth in place of the VAE: lossless latents.

    A factor x factor block of RGB pixels becomes one latent position with 3 * factor**2 channels, and [0, 1] becomes
    [-scale, scale]. An 8-bit image survives the round trip exactly.

    Attributes:
        factor: width of a latent position in pixels; image sides must be multiples of it.
        scale: half the range of the latents, like a VAE's scaling factor.
    """

    factor: int = 4
    scale: float = 2.0

    @property
    def channels(self) -> int:
        """Number of latent channels."""
        return 3 * self.factor**2

    def encode(self, image: torch.Tensor, noise: Sequence[torch.Generator] | None = None) -> torch.Tensor:
        """Encode (B, 3, H, W) in [0, 1] as (B, 3 factor^2, H / factor, W / factor) in [-scale, scale], exactly."""
        return F.pixel_unshuffle((image * 2 - 1) * self.scale, self.factor)

    def posterior(self, image: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return `encode`, which is exact."""
        return self.encode(image), None

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode`, not clamped: (B, 3 factor^2, h, w) -> (B, 3, h factor, w factor)."""
        return (F.pixel_shuffle(latent, self.factor) / self.scale + 1) / 2
