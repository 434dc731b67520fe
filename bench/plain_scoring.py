"""The yardstick of `bench_scoring.py`: pyiqa's own metrics in the plainest loop over pairs of images, in one process.

Every image is decoded once and every metric is built once; torch has all the threads it is given. Kept apart from the
package, and never optimised.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyiqa
import torch
from PIL import Image
from torch import Tensor


def build(names: Sequence[str], device: str) -> dict[str, torch.nn.Module]:
    """pyiqa's metrics at their defaults, by name."""
    return {name: pyiqa.create_metric(name, device=torch.device(device)) for name in names}


def plain_scores(
    metrics: dict[str, torch.nn.Module], pairs: Sequence[tuple[Path, Path]], device: str
) -> dict[str, list[float]]:
    """The values of every metric on (SR, HR) files, in their order."""
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for sr_path, hr_path in pairs:
        sr, hr = read(sr_path, device), read(hr_path, device)
        for name, metric in metrics.items():
            with torch.inference_mode():
                values[name].append(metric(sr, hr).item() if metric.metric_mode == "FR" else metric(sr).item())
    return values


def read(path: Path, device: str) -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    with Image.open(path) as image:
        rgb = np.array(image.convert("RGB"))
    return torch.from_numpy(rgb).permute(2, 0, 1).unsqueeze(0).to(device).float() / 255
