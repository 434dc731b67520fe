"""PSNR and SSIM of 8-bit images, in NumPy: no network and no start-up time.

Both reproduce pyiqa, the implementation behind the published numbers of the field: PSNR on unrounded values with a
floor under the error, SSIM on rounded values with its contrast-structure term clipped at zero.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float64]

# Y of R'G'B' in [0, 255]: (weights of R, G, B; offset), on the scale of 0 to 255.
_LUMA = {
    # ITU-R BT.601, studio swing: black at 16, white at 235.
    "ycbcr": ((65.481 / 255, 128.553 / 255, 24.966 / 255), 16.0),
    # NTSC YIQ, full swing: black at 0, white at 255.
    "yiq": ((0.299, 0.587, 0.114), 0.0),
}


def luma(image: Image, color_space: str) -> Plane:
    """The Y channel of an RGB image.

    Args:
        image: (H, W, 3), uint8.
        color_space: "ycbcr" (BT.601 limited range, result in [16, 235]) or "yiq" (full range, [0, 255]).

    Returns:
        (H, W), unrounded.
    """
    (red, green, blue), offset = _LUMA[color_space]
    return red * image[..., 0] + green * image[..., 1] + blue * image[..., 2] + offset


def psnr(
    sr: Image,
    hr: Image,
    *,
    test_y_channel: bool = False,
    color_space: str = "yiq",
    crop_border: int = 0,
    rounded: bool = False,
) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / (MSE + 1e-8)) with values in [0, 1]; at most 80 dB.

    Args:
        sr: (H, W, 3), uint8.
        hr: same shape.
        test_y_channel: compare Y of `color_space` instead of R, G and B.
        color_space: see `luma`; the peak is 255 for limited-range Y too.
        crop_border: pixels cropped at each edge.
        rounded: round Y to 8 bits, as MATLAB does.
    """
    x, y = (_planes(_crop(image, crop_border), test_y_channel, color_space, rounded) for image in (sr, hr))
    mse = float(np.mean(np.square((x - y) / 255)))
    return float(10 * np.log10(1 / (mse + 1e-8)))


def ssim(
    sr: Image,
    hr: Image,
    *,
    test_y_channel: bool = True,
    color_space: str = "yiq",
    crop_border: int = 0,
    rounded: bool = True,
) -> float:
    """Structural similarity (Wang et al. 2004) of planes in [0, 255], 11 x 11 Gaussian window, sigma 1.5.

    Only windows that lie inside the image count. The mean over windows, and over R, G and B without `test_y_channel`.

    Args:
        sr: (H, W, 3), uint8, sides of at least 11 after cropping.
        hr: same shape.
        test_y_channel: compare Y of `color_space` instead of R, G and B.
        color_space: see `luma`.
        crop_border: pixels cropped at each edge.
        rounded: round Y to 8 bits, as pyiqa and MATLAB do.
    """
    x, y = (_planes(_crop(image, crop_border), test_y_channel, color_space, rounded) for image in (sr, hr))
    return float(np.mean([_ssim(x[..., plane], y[..., plane]) for plane in range(x.shape[-1])]))


FUNCTIONS: dict[str, Callable[..., float]] = {"psnr": psnr, "ssim": ssim}
"""By pyiqa's name; the options of a metric are their keyword arguments."""


def _planes(image: Image, test_y_channel: bool, color_space: str, rounded: bool) -> Plane:
    """(H, W, 1) of Y or (H, W, 3) of R, G and B."""
    if not test_y_channel:
        return image.astype(np.float64)
    y = luma(image, color_space)[..., np.newaxis]
    return np.rint(y) if rounded else y


def _ssim(x: Plane, y: Plane) -> float:
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    means, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = _blur(x * y) - means
    # Only the sum of the two variances is needed, which saves a fifth of the filtering.
    variances = _blur(x * x + y * y) - squares
    contrast_structure = np.maximum((2 * covariance + c2) / (variances + c2), 0)
    return float(np.mean((2 * means + c1) / (squares + c1) * contrast_structure))


def _blur(plane: Plane) -> Plane:
    """Gaussian window mean over every window inside (H, W): (H - 10, W - 10)."""
    taps = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
    taps /= taps.sum()
    height, width = (side - 10 for side in plane.shape)
    rows = sum(tap * plane[start : start + height] for start, tap in enumerate(taps))
    return sum(tap * rows[:, start : start + width] for start, tap in enumerate(taps))


def _crop(image: Image, border: int) -> Image:
    return image[border : image.shape[0] - border, border : image.shape[1] - border]
