"""Fréchet Inception Distance (Heusel et al. 2017) from features, in NumPy."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 299


def resized(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The input of FID's network: clean-fid's resizing (Parmar et al. 2022), an antialiased bicubic in floats.

    Args:
        image: (H, W, 3), uint8.

    Returns:
        (3, 299, 299) in [0, 255], unrounded.
    """
    planes = [Image.fromarray(image[..., channel].astype(np.float32)) for channel in range(3)]
    small = [plane.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for plane in planes]
    return np.stack([np.asarray(plane).clip(0, 255) for plane in small])


def frechet_distance(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """|mean x - mean y|^2 + tr(Cx) + tr(Cy) - 2 tr((Cx Cy)^(1/2)), Cx and Cy the covariances.

    With Cx = A A^T and Cy = B B^T, the last trace is the sum of the singular values of A^T B, a matrix with one row and
    column per image. This avoids the root of a 2048 x 2048 matrix that is singular for a set of a hundred images.

    Args:
        x: (N, D) features, N >= 2.
        y: (M, D), M >= 2.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = ((f - f.mean(axis=0)) / np.sqrt(len(f) - 1) for f in (x, y))
    between = x.mean(axis=0) - y.mean(axis=0)
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(between @ between + np.square(a).sum() + np.square(b).sum() - 2 * root)
