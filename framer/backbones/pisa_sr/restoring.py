"""The residual that restoring removes: both LoRA sets weighted, in overlapping tiles where the image is large."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from framer.backbones.pisa_sr.lora import active_sets, lora_sets
from framer.backbones.pisa_sr.settings import PiSASRRestore
from framer.backbones.tiling import Tiles

if TYPE_CHECKING:
    from framer.backbones.pisa_sr.model import PiSASR


def tiled_residual(model: "PiSASR", latent: Tensor, options: PiSASRRestore) -> Tensor:
    """Compute `weighted_residual` of latents of any size, (B, C, h, w), image by image if they need tiles."""
    height, width = latent.shape[-2:]
    if height * width <= options.tile**2:
        return weighted_residual(model, latent, options)
    tiles = Tiles.plan(height, width, options.tile, options.overlap)

    def residual(image: Tensor) -> Tensor:
        return tiles.blend(lambda at: weighted_residual(model, tiles.cut(image, at), options), options.tile_batch)

    return torch.cat([residual(image) for image in latent.split(1)])


def weighted_residual(model: "PiSASR", latent: Tensor, options: PiSASRRestore) -> Tensor:
    """lambda_pix eps_pix + lambda_sem (eps_both - eps_pix), (B, C, h, w), in as few passes as the weights allow."""
    pix, sem = options.lambda_pix, options.lambda_sem
    if lora_sets(model.network) != ("pix", "sem"):
        return pix * model.residual(latent)
    if pix == sem:
        return sem * model.residual(latent)
    with active_sets(model.network, "pix"):
        pixel = model.residual(latent)
    return pix * pixel + sem * (model.residual(latent) - pixel) if sem else pix * pixel
