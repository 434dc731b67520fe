"""NIQE, LPIPS, MANIQA, MUSIQ and the other networks by pyiqa, only from weights on this machine.

pyiqa would fetch missing files without checking them, unpickle any file, and download backbones that the checkpoint
then overwrites. `_from_folder` disables this while a metric is built.
"""

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framer.errors import UserError, one_line
from framer.scoring import embedded_metrics, fid
from framer.scoring.embedded_metrics import replaced
from framer.scoring.protocols import Metric
from framer.weights.store import embedded, files, folder

Image = NDArray[np.uint8]


def device() -> torch.device:
    """Where the metric networks run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Network:
    """One metric of pyiqa, built from the folder of weights."""

    def __init__(self, metric: Metric):
        """
        Args:
            metric: one whose weights are all there.

        Raises:
            UserError: a file of weights cannot be read.
        """
        self.metric = metric
        self._net: Any
        with _from_folder():
            import pyiqa

            try:
                packaged = next(filter(None, map(embedded, metric.weights)), None)
                if packaged:
                    self._net = embedded_metrics.build(metric, packaged).to(device())
                else:
                    self._net = pyiqa.create_metric(metric.pyiqa, device=device(), **metric.options).net
            except UserError:
                raise
            except Exception as error:
                paths = ", ".join(str(folder() / name) for name in files(metric.weights))
                message = f"not weights of {metric.id} ({one_line(error)}); delete and fetch them again"
                raise UserError(message, path=paths, code="unreadable") from error

    def values(self, sr: Tensor, hr: Tensor | None) -> list[float]:
        """One value per image.

        Args:
            sr: (N, 3, H, W) in [0, 1].
            hr: the same shape; ignored by a metric without reference.
        """
        inputs = [sr, hr] if self.metric.needs_hr and hr is not None else [sr]
        # MANIQA attends over the channels of 20 crops of an image at once: 2.5 GB per image.
        step = 1 if self.metric.name == "maniqa" else len(sr)
        with _exactly():
            parts = [self._net(*(x[i : i + step] for x in inputs)) for i in range(0, len(sr), step)]
        return [float(value) for part in parts for value in part.reshape(-1)]

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Features for FID, (N, 2048), of images of any sizes."""
        batch = torch.from_numpy(np.stack([fid.resized(image) for image in images])).to(device())
        with _exactly():
            return self._net.model((batch - 128) / 128)[0].flatten(1).cpu().numpy()


def as_tensor(images: Sequence[Image]) -> Tensor:
    """(H, W, 3) uint8 images of one size to (N, 3, H, W) in [0, 1], on the device of the metrics."""
    batch = torch.from_numpy(np.stack(images)).to(device())
    return batch.permute(0, 3, 1, 2).float() / 255


@contextlib.contextmanager
def _exactly() -> Iterator[None]:
    """Without gradients, in one order of sums, and in full float32: cuDNN would round to 10 bits (TF32)."""
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        yield


@contextlib.contextmanager
def _from_folder() -> Iterator[None]:
    """Make pyiqa read only files in the folder of weights, load only tensors, and print nothing."""
    hub = folder().resolve() / "hub"
    # torch honours this over pyiqa's explicit weights_only=False: a pickle with code in it is refused.
    environment = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "HF_HUB_OFFLINE": "1"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    hub_before = torch.hub.get_dir()
    torch.hub.set_dir(str(hub))
    try:
        quiet = contextlib.redirect_stdout(io.StringIO())
        with quiet, warnings.catch_warnings(action="ignore"), contextlib.ExitStack() as stack:
            import timm
            from pyiqa.archs import clip_model, liqe_arch
            from pyiqa.utils import download_util

            scratch = stack.enter_context(tempfile.TemporaryDirectory())
            stack.enter_context(replaced(torch.hub, "download_url_to_file", _refuse))
            stack.enter_context(replaced(download_util, "download_url_to_file", _refuse))
            stack.enter_context(replaced(download_util, "DEFAULT_CACHE_DIR", str(hub / "pyiqa")))
            stack.enter_context(replaced(clip_model, "_download", _found))
            # LIQE caches features of its prompts beside the weights, under one name for all weights.
            stack.enter_context(replaced(liqe_arch, "DEFAULT_CACHE_DIR", scratch))
            # MANIQA's checkpoint holds its whole ViT, which pyiqa nevertheless downloads first.
            stack.enter_context(replaced(timm, "create_model", _without_download(timm.create_model)))
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
    message = f"scoring does not download; run framer fetch, or copy the file into {folder()}"
    raise UserError(message, path=url, code="missing")


def _found(url: str, root: str) -> str:
    """CLIP's file; its hash was checked like all others, before anything is built."""
    file = Path(root, url.rpartition("/")[2])
    return str(file) if file.is_file() else _refuse(url)
