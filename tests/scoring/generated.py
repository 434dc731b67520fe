"""Weights made up on the spot, in the files and formats that pyiqa reads."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import scipy.io
import timm
import torch
import torchvision
from pyiqa.archs import inception
from pyiqa.archs.clip_model import CLIP
from pyiqa.archs.maniqa_arch import MANIQA
from pyiqa.archs.musiq_arch import MUSIQ
from torch import nn

from framer.scoring.protocols import Metric
from framer.weights import store


def generate(metric: Metric, folder: Path) -> dict[str, str]:
    """Write the weights of a metric; returns the SHA-256 of each file, by its path below the folder of weights.

    Files of other networks' backbones are written first: those of torchvision and of CLIP.
    """
    torch.manual_seed(0)
    names = sorted(store.files(metric.weights), key=lambda name: name.startswith("hub/pyiqa"))
    files = [folder / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    _MAKE[metric.name](*files)
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in zip(names, files, strict=True)}


def niqe(file: Path) -> None:
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(36, 36))
    model = {"mu_prisparam": rng.normal(size=(1, 36)), "cov_prisparam": spread @ spread.T + np.eye(36)}
    scipy.io.savemat(file, model)


def lpips(backbone: Path, heads: Path) -> None:
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), backbone)
    widths = (64, 192, 384, 256, 256)
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(widths)}, heads)


def musiq(file: Path) -> None:
    torch.save(MUSIQ(pretrained=False, num_class=1).state_dict(), file)


NARROW = {"embed_dim": 64, "dim_mlp": 64}
"""MANIQA at a twelfth of its width, with all its crops, blocks and heads; `narrow_vit` goes with it."""


@contextmanager
def narrow_vit() -> Iterator[None]:
    create = timm.create_model
    timm.create_model = partial(create, embed_dim=NARROW["embed_dim"], num_heads=4)
    try:
        yield
    finally:
        timm.create_model = create


def maniqa(file: Path) -> None:
    vit = timm.create_model
    timm.create_model = lambda name, pretrained: vit(name, pretrained=False)
    try:
        net = MANIQA(pretrained=False, **NARROW)
    finally:
        timm.create_model = vit
    torch.save(net.state_dict(), file)


def fid(file: Path) -> None:
    load = inception.load_pretrained_network
    inception.load_pretrained_network = lambda *args: None
    try:
        net = inception.fid_inception_v3()
    finally:
        inception.load_pretrained_network = load
    # Random weights shrink features layer by layer; like this they come out near 1.
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    net(torch.rand(4, 3, 299, 299) * 2 - 1)
    torch.save(net.state_dict(), file)


class _Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _archive(net: nn.Module, file: Path) -> None:
    """A TorchScript archive that holds a network's parameters, as OpenAI publishes CLIP."""
    root = _Branch()
    for name, value in net.state_dict().items():
        *path, last = name.split(".")
        branch = root
        for part in path:
            if part not in branch._modules:
                branch.add_module(part, _Branch())
            branch = branch._modules[part]
        branch.register_buffer(last, value)
    torch.jit.script(root).save(str(file))


def clipiqa(file: Path) -> None:
    """A small one: CLIP's sizes are read off its weights."""
    _archive(CLIP(64, 64, (1, 1, 1, 1), 16, None, 77, 49408, 64, 1, 1), file)


def liqe(backbone: Path, file: Path) -> None:
    net = CLIP(64, 224, 1, 64, 32, 77, 49408, 64, 1, 1)
    _archive(net, backbone)
    torch.save({"params": {f"clip_model.{name}": value for name, value in net.state_dict().items()}}, file)


_MAKE = {"niqe": niqe, "lpips": lpips, "musiq": musiq, "maniqa": maniqa, "fid": fid, "clipiqa": clipiqa, "liqe": liqe}
