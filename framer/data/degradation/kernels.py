"""Blur kernels of the second-order degradation: Gaussian families and the sinc filter.

Weights sum to 1 and are whole multiples of 2^-16, or for kernels with much below zero of a larger power of two, so that
products with 8-bit levels add up without rounding in float32: a blur has the same bits in any order.
"""

import math

import numpy as np
import torch

from framer.data.degradation.presets import KERNEL_SIZES, KINDS, Blur, Range

Kernel = np.ndarray


def mahalanobis(size: int, sigma_x: float, sigma_y: float, angle: float) -> np.ndarray:
    """x^T S^-1 x on a (size, size) grid of pixels around its center, S the rotated diag(sigma_x^2, sigma_y^2).

    Args:
        size: odd.
        sigma_x, sigma_y: standard deviations along the kernel's own axes, pixels.
        angle: of the first axis against the image's x axis, radians.
    """
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def gaussian(size: int, sigma_x: float, sigma_y: float, angle: float = 0.0, beta: float = 1.0) -> Kernel:
    """Generalised Gaussian, exp(-d^beta / 2) with d = `mahalanobis`; beta 1 is the Gaussian. (size, size) float32."""
    return _normalised(np.exp(-0.5 * mahalanobis(size, sigma_x, sigma_y, angle) ** beta))


def plateau(size: int, sigma_x: float, sigma_y: float, angle: float = 0.0, beta: float = 1.0) -> Kernel:
    """Plateau-shaped kernel, 1 / (1 + d^beta) with d = `mahalanobis`. (size, size) float32."""
    return _normalised(1 / (1 + mahalanobis(size, sigma_x, sigma_y, angle) ** beta))


def sinc(size: int, cutoff: float) -> Kernel:
    """Circular low-pass filter w J1(w r) / (2 pi r), cut off at w = `cutoff` rad/pixel: ringing and overshoot."""
    half = size // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    r = np.hypot(x, y)
    r[half, half] = 1
    kernel = cutoff * torch.special.bessel_j1(torch.from_numpy(cutoff * r)).numpy() / (2 * math.pi * r)
    kernel[half, half] = cutoff**2 / (4 * math.pi)
    return _normalised(kernel)


def _normalised(kernel: np.ndarray) -> Kernel:
    weights = kernel / kernel.sum()
    unit = 2.0 ** math.floor(math.log2(2**24 / (255.5 * np.abs(weights).sum())))
    fixed = np.round(weights * unit)
    fixed[kernel.shape[0] // 2, kernel.shape[1] // 2] += unit - fixed.sum()
    return (fixed / unit).astype(np.float32)


def draw_kernel(blur: Blur, rng: np.random.Generator) -> Kernel:
    """A random kernel of one stage, as Real-ESRGAN draws it."""
    if rng.random() < blur.sinc:
        # A small kernel can only hold a filter that is not too narrow in frequency.
        return draw_sinc(rng, lowest={size: math.pi / 3 if size < 13 else math.pi / 5 for size in KERNEL_SIZES})
    size = int(rng.choice(KERNEL_SIZES))
    shape = KINDS[rng.choice(len(KINDS), p=blur.kinds)]
    family, _, symmetry = shape.rpartition("_")
    sigma_x = rng.uniform(*blur.sigma)
    if symmetry == "iso":
        axes = (sigma_x, sigma_x, 0.0)
    else:
        axes = (sigma_x, rng.uniform(*blur.sigma), rng.uniform(-math.pi, math.pi))
    match family:
        case "generalised":
            return gaussian(size, *axes, beta=_draw_beta(blur.generalised_beta, rng))
        case "plateau":
            return plateau(size, *axes, beta=_draw_beta(blur.plateau_beta, rng))
        case _:
            return gaussian(size, *axes)


def draw_sinc(rng: np.random.Generator, lowest: dict[int, float] | None = None) -> Kernel:
    """A random sinc filter.

    Args:
        rng: where the draws come from.
        lowest: the lowest cut-off for each size; pi / 3 for all when None, as for the last filter of the pipeline.
    """
    size = int(rng.choice(KERNEL_SIZES))
    return sinc(size, rng.uniform(lowest[size] if lowest else math.pi / 3, math.pi))


def _draw_beta(span: Range, rng: np.random.Generator) -> float:
    """Below and above 1 are equally likely, whatever the range: half the kernels are peaked, half are flat."""
    low, high = span
    return rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
