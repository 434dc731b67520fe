"""JPEG there and back, 4:2:0, by libjpeg."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from framer.data.degradation.operations import whole


def jpeg(image: Tensor, quality: int) -> Tensor:
    """Encode and decode an image.

    Args:
        image: (3, H, W) levels on the CPU; clipped to [0, 255] and rounded first.
        quality: 1 to 100.

    Returns:
        (3, H, W) float32, whole levels.
    """
    planes = whole(image).to(torch.uint8).numpy()
    file = io.BytesIO()
    # Pillow takes planes apart and puts them together faster than torch permutes them.
    Image.merge("RGB", [Image.fromarray(plane) for plane in planes]).save(file, "JPEG", quality=quality, subsampling=2)
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in Image.open(file).split()])).float()
