"""What stands between pixels and latents: at full size a VAE, in the tiny configurations an exact reshaping."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F


class Codec(Protocol):
    """Pixels to latents and back.

    Attributes:
        factor: pixels a latent position is wide; image sides must be multiples of it.
        channels: of a latent.
    """

    @property
    def factor(self) -> int: ...

    @property
    def channels(self) -> int: ...

    def encode(self, image: torch.Tensor, noise: Sequence[torch.Generator] | None = None) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] -> latents (B, channels, H / factor, W / factor), about unit variance, float32.

        Where encoding is stochastic, `noise` has a CPU generator a sample; without it, the most likely latents.
        """

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """(B, channels, h, w) -> (B, 3, h factor, w factor) float32, about [0, 1], not clamped."""


@dataclass(frozen=True)
class PixelCodec:
    """Space-to-depth in place of the VAE: latents that lose nothing.

    A factor x factor block of RGB pixels becomes one latent position with 3 * factor**2 channels, and [0, 1] becomes
    [-scale, scale]. An 8-bit image survives the round trip exactly.

    Attributes:
        factor: pixels a latent position is wide; image sides must be multiples of it.
        scale: half the range of the latents, as a VAE's scaling factor brings them to unit variance.
    """

    factor: int = 4
    scale: float = 2.0

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return 3 * self.factor**2

    def encode(self, image: torch.Tensor, noise: Sequence[torch.Generator] | None = None) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3 factor^2, H / factor, W / factor) in [-scale, scale]. Never stochastic."""
        return F.pixel_unshuffle((image * 2 - 1) * self.scale, self.factor)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """The inverse of `encode`, not clamped: (B, 3 factor^2, h, w) -> (B, 3, h factor, w factor)."""
        return (F.pixel_shuffle(latent, self.factor) / self.scale + 1) / 2
