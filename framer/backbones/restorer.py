"""Restoring images of any size with a network that takes multiples of its patches."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from framer.backbones.adapted_network import AdaptedNetwork
from framer.backbones.finite import finite
from framer.backbones.image_ops import enlarged_size, pad_to, resized, resized_8_bit, upsample
from framer.backbones.random import Draws
from framer.backbones.settings import FreeU, RestoreSettings, Settings
from framer.data.degradation.presets import SCALE
from framer.errors import UserError


class Restorer(AdaptedNetwork):
    """The part of a backbone that restores. Images are (B, 3, H, W) float32 in [0, 1].

    Attributes:
        multiple: the sides of the restored image must be multiples of this; `restore_image` pads.
        process_size: smaller images are enlarged to this short side before they are restored, pixels of the output.
        prompts: text of each photograph, in training by SET/STEM, in restoring by STEM; photographs without an entry
            have the empty prompt. Set by training and restoring.
    """

    multiple: int
    process_size: int = 1

    def __init__(self, config: dict[str, Any], settings: Settings):
        super().__init__(config, settings)
        self.prompts: Mapping[str, str] = {}

    def enable_freeu(self, factors: FreeU) -> None:
        """Restore with FreeU from now on.

        Raises:
            UserError: the network has no skip connections.
        """
        raise UserError(f"{self.name} has no skip connections, which FreeU changes; leave it out", key="freeu")

    @abstractmethod
    def restore(
        self, upsampled: Tensor, draws: Draws, options: RestoreSettings, *, prompt: str = "", blank_lr: bool = False
    ) -> Tensor:
        """Restore a batch whose sides are multiples of `multiple`.

        Args:
            upsampled: bicubic x4 of the LR images, (B, 3, H, W) in [0, 1].
            draws: random numbers of the starting noise, for samplers that need it.
            options: restore settings, of the class of `settings.restore`.
            prompt: description of the images, for backbones with text.
            blank_lr: control experiment: replace the LR latent by zeros.

        Returns:
            (B, 3, H, W), not clamped.
        """

    @torch.no_grad()
    def restore_image(
        self,
        lr: Tensor,
        draws: Draws,
        options: RestoreSettings | None = None,
        *,
        prompt: str = "",
        blank_lr: bool = False,
    ) -> Tensor:
        """Restore images of any size to exactly 4x: enlarge small ones, upsample, pad by reflection, restore, crop.

        As in the released codes, an image whose short side is below `process_size` after upsampling is enlarged first,
        in two bicubic steps of 8 bits, and reduced afterwards. See `enlarged_size`.

        Args:
            lr: (B, 3, h, w) in [0, 1].
            draws, prompt, blank_lr: as for `restore`.
            options: as for `restore`; by default those of `settings`.

        Returns:
            (B, 3, 4h, 4w) in [0, 1], on the CPU.

        Raises:
            UserError: a value is not finite, or far out of range: code "diverged".
        """
        options = options or self.settings.restore
        lr = lr.to(self.device)
        size = lr.shape[-2], lr.shape[-1]
        enlarged = enlarged_size(*size, self.process_size // SCALE)
        if small := enlarged != size:
            lr = resized_8_bit(lr, enlarged)
            upsampled = resized_8_bit(lr, [SCALE * side for side in enlarged])
        else:
            upsampled = upsample(lr)
        height, width = upsampled.shape[-2:]
        padded = pad_to(upsampled, -height % self.multiple, -width % self.multiple)
        image = self.restore(padded, draws, options, prompt=prompt, blank_lr=blank_lr)
        if image.shape != padded.shape:
            shapes = f"{tuple(image.shape)}, not {tuple(padded.shape)}"
            raise UserError(f"restore of {self.name} returned images of shape {shapes}; it must keep the shape")
        image = finite(image[..., :height, :width], "the restored image").clamp(0, 1)
        image = self.finish(image, upsampled, options)
        if small:
            image = resized(image, [SCALE * side for side in size])
        return image.clamp(0, 1).cpu()

    def finish(self, image: Tensor, upsampled: Tensor, options: RestoreSettings) -> Tensor:
        """Postprocess restored images after cropping; by default they stay as they are.

        Args:
            image: (B, 3, H, W) in [0, 1].
            upsampled: bicubic LR images of the same size, on `device`.
            options: as for `restore`.

        Returns:
            (B, 3, H, W), not clamped.
        """
        return image
