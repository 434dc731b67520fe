"""The degradation in its plain form, one OpenCV or NumPy call an operation: the yardstick of bench_degradation.py."""

import cv2
import numpy as np
from numpy.typing import NDArray

from framer.data.degradation.pipeline import Draw, Noise, StageDraw

Image = NDArray[np.float32]
INTERPOLATION = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def plain_apply(hr: Image, draw: Draw) -> Image:
    """Carry out a draw on (H, W, 3) float32 in [0, 1]; returns (H/4, W/4, 3) in k/255."""
    image = stage(hr, draw.first)
    image = coded(image, draw.first.quality)
    image = stage(image, draw.second)
    if draw.jpeg_last:
        return coded(finished(image, draw), draw.second.quality)
    image = finished(coded(image, draw.second.quality), draw)
    return np.round(np.clip(image, 0, 1) * 255) / np.float32(255)


def stage(image: Image, draw: StageDraw) -> Image:
    if draw.kernel is not None:
        image = cv2.filter2D(image, -1, draw.kernel)
    image = cv2.resize(image, draw.size[::-1], interpolation=INTERPOLATION[draw.mode])
    return noisy(image, draw.noise)


def finished(image: Image, draw: Draw) -> Image:
    image = cv2.resize(image, draw.size[::-1], interpolation=INTERPOLATION[draw.mode])
    return image if draw.sinc is None else cv2.filter2D(image, -1, draw.sinc)


def noisy(image: Image, noise: Noise) -> Image:
    rng = np.random.default_rng(noise.seed)
    shape = (*image.shape[:2], 1 if noise.gray else 3)
    if noise.kind == "gaussian":
        return np.clip(image + np.float32(noise.strength) * rng.standard_normal(shape, dtype=np.float32), 0, 1)
    clean = np.round(np.clip(image, 0, 1) * 255) / np.float32(255)
    if noise.gray:
        clean = np.round(cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)[..., None] * 255) / np.float32(255)
    photons = 2 ** np.ceil(np.log2(len(np.unique(clean))))
    shot = (rng.poisson(clean * photons) / photons).astype(np.float32) - clean
    return np.clip(image + np.float32(noise.strength) * shot, 0, 1)


def coded(image: Image, quality: int) -> Image:
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    _, file = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
