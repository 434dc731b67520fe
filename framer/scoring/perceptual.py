"""NIQE, LPIPS, MANIQA and MUSIQ by pyiqa, from weights on this machine and from nowhere else.

pyiqa would fetch what is missing without checking it, unpickle any file, and download backbones that the checkpoint
then overwrites. `_from_folder` closes these ways while a metric is built.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from framer.errors import UserError
from framer.scoring import weights
from framer.scoring.protocols import Metric

PACKAGES = ("pyiqa", "timm", "torch", "torchvision")
"""Distributions whose versions these scores depend on."""

Scorer = Callable[[torch.Tensor, torch.Tensor | None], float]


def device() -> torch.device:
    """Where the metric networks run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def create(metric: Metric) -> Scorer:
    """Build one metric.

    Args:
        metric: one whose weights are all there.

    Returns:
        A function of (sr, hr), each (1, 3, H, W) in [0, 1]; hr is ignored by a metric that needs none.

    Raises:
        UserError: a file of weights cannot be read.
    """
    with _from_folder():
        import pyiqa

        try:
            model = pyiqa.create_metric(metric.pyiqa, device=device(), **metric.options)
        except UserError:
            raise
        except Exception as error:
            files = ", ".join(str(weights.folder() / name) for name in metric.weights)
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{files}: not weights of {metric.id} ({reason}); fetch them again") from error

    def scorer(sr: torch.Tensor, hr: torch.Tensor | None) -> float:
        with torch.inference_mode():
            return float(model(sr, hr) if metric.needs_hr else model(sr))

    return scorer


def as_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    """(H, W, 3) uint8 to (1, 3, H, W) in [0, 1], on the device of the metrics."""
    tensor = torch.tensor(image, device=device())
    return tensor.permute(2, 0, 1).unsqueeze(0).float() / 255


@contextlib.contextmanager
def _from_folder() -> Iterator[None]:
    """Let pyiqa find its files in the folder of weights only, load tensors only, and say nothing on stdout."""
    hub = weights.folder().resolve() / "hub"
    # torch honours this over pyiqa's explicit weights_only=False: a pickle with code in it is refused.
    environment = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "HF_HUB_OFFLINE": "1"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    hub_before = torch.hub.get_dir()
    torch.hub.set_dir(str(hub))
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.ExitStack() as stack:
            import timm
            from pyiqa.utils import download_util

            stack.enter_context(_replaced(torch.hub, "download_url_to_file", _refuse))
            stack.enter_context(_replaced(download_util, "download_url_to_file", _refuse))
            stack.enter_context(_replaced(download_util, "DEFAULT_CACHE_DIR", str(hub / "pyiqa")))
            # MANIQA's checkpoint holds its whole ViT, which pyiqa nevertheless downloads first.
            stack.enter_context(_replaced(timm, "create_model", _without_download(timm.create_model)))
            yield
    finally:
        torch.hub.set_dir(hub_before)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _without_download(create_model: Callable[..., Any]) -> Callable[..., Any]:
    def create(*args: Any, **kwargs: Any) -> Any:
        return create_model(*args, **{**kwargs, "pretrained": False})

    return create


def _refuse(url: str, *args: Any, **kwargs: Any) -> NoReturn:
    raise UserError(f"{url}: scoring does not download; put the file into {weights.folder()}")


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
