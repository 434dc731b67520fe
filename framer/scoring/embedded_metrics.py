"""pyiqa's LPIPS and NIQE with tensors of a package (`framer.weights.embedded`) in place of published files."""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import scipy.io
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from framer.scoring.protocols import Metric


def build(metric: Metric, path: Path) -> nn.Module:
    """Build pyiqa's network of a metric on the CPU.

    Args:
        metric: `lpips` or `niqe`.
        path: its tensors; safetensors.

    Raises:
        LookupError: a tensor of the network is not in the file.
    """
    import pyiqa

    tensors = load_file(path)
    cpu = torch.device("cpu")
    if metric.name == "niqe":
        with tempfile.NamedTemporaryFile(suffix=".mat") as file:
            scipy.io.savemat(file.name, {name: tensor.numpy() for name, tensor in tensors.items()})
            return pyiqa.create_metric(metric.pyiqa, device=cpu, pretrained_model_path=file.name, **metric.options).net
    with contextlib.ExitStack() as stack:
        for name in ("alexnet", "vgg16"):
            stack.enter_context(replaced(torchvision.models, name, _unfilled(getattr(torchvision.models, name))))
        net: nn.Module = pyiqa.create_metric(metric.pyiqa, device=cpu, pretrained=False, **metric.options).net
    for name, parameter in net.named_parameters():
        parameter.data.copy_(tensors[re.sub(r"^net\.slice\d+\.", "features.", name)])
    return net


def _unfilled(create: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """One of torchvision's networks with features of any values; its classifier, of up to 0.5 GB, stays empty."""

    def network(weights: object) -> nn.Module:
        with torch.device("meta"):
            made = create(weights=None)
        made.get_submodule("features").to_empty(device="cpu")
        return made

    return network


@contextlib.contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Give an attribute of a module another value for a while."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
