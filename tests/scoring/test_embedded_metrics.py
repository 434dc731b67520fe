"""LPIPS and NIQE with the tensors of packages, against published scores and second implementations."""

import csv
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from pyiqa.archs.lpips_arch import LPIPS
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from framer.backbones.pisa_sr.losses import Perceptual
from framer.scoring.folders import Task, score_folders
from framer.scoring.protocols import Protocol
from framer.scoring.pyiqa_metrics import Network, as_tensor
from framer.weights.embedded import convert
from framer.weights.manifest import WeightsManifest

DATA = os.environ.get("FRAMER_TEST_DATA")
ALEX, NIQE = Protocol.named("osediff").select(["lpips", "niqe"])
VGG = ALEX.__class__(**{**vars(ALEX), "id": "lpips@vgg-v0.1", "pyiqa": "lpips-vgg", "weights": ("lpips-vgg",)})
NETWORKS = {"lpips-alex": ALEX, "lpips-vgg": VGG}


@pytest.fixture
def packaged(weights: Path):
    """Convert the tensors of a package and return their path."""

    def make(name: str) -> Path:
        source = WeightsManifest.load(name).embedded
        assert source is not None
        convert(source, weights)
        return weights / source.path

    return make


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Two different images of (1, 3, 70, 90) in [0, 1]."""
    rng = np.random.default_rng(3)
    hr = np.kron(rng.integers(0, 256, (7, 9, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    sr = np.clip(hr + rng.normal(0, 20, hr.shape), 0, 255).astype(np.uint8)
    return as_tensor([sr]).cpu(), as_tensor([hr]).cpu()


@pytest.mark.parametrize("name", list(NETWORKS))
def test_lpips_equals_pyiqas_with_the_same_tensors(packaged, images, monkeypatch, name: str) -> None:
    """Loaded by hand into pyiqa's own class."""
    tensors = load_file(packaged(name))
    for backbone in ("alexnet", "vgg16"):
        create = getattr(torchvision.models, backbone)
        monkeypatch.setattr(torchvision.models, backbone, lambda weights, create=create: create(weights=None))
    theirs = LPIPS(net=name.removeprefix("lpips-"), pretrained=False)
    state = {key: value for key, value in tensors.items() if key.startswith("lin")}
    for key in theirs.state_dict():
        if key.startswith("net."):
            state[key] = tensors["features." + key.split(".", 2)[2]]
    assert not theirs.load_state_dict(state, strict=False).unexpected_keys
    with torch.no_grad():
        expected = theirs(*images).item()
    assert Network(NETWORKS[name]).values(*images)[0] == pytest.approx(expected, abs=1e-6)
    if name == "lpips-vgg":
        loss = Perceptual.from_weights()(*(2 * image - 1 for image in images)).item()
        assert loss == pytest.approx(expected, abs=1e-6)


def test_lpips_equals_its_definition_on_the_arrays_of_the_package(packaged, images) -> None:
    """sum over layers of mean over positions of w . (x / |x| - y / |y|)^2, from the arrays as the package has them."""
    packaged("lpips-alex")
    path = WeightsManifest.load("lpips-alex").embedded.located()
    tree = pickle.loads(path.read_bytes())
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    x = (torch.cat(images) * 2 - 1 - mean) / std
    total = 0.0
    for i, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
        if i in (1, 2):
            x = F.max_pool2d(x, 3, 2)
        layer = tree["AlexNet_0"][f"Conv_{i}"]
        kernel = torch.from_numpy(np.moveaxis(layer["kernel"], (3, 2), (0, 1)).copy())
        x = F.conv2d(x, kernel, torch.from_numpy(layer["bias"]), stride, padding).relu()
        unit = x / x.norm(dim=1, keepdim=True).clamp(min=1e-10)
        head = torch.from_numpy(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).reshape(1, -1, 1, 1)
        total += ((unit[0] - unit[1]).square() * head).sum(dim=1).mean().item()
    assert total > 0.01
    assert Network(ALEX).values(*images)[0] == pytest.approx(total, abs=1e-6)


def test_a_network_of_other_tensors_is_one_line(packaged, weights: Path) -> None:
    from framer.errors import UserError

    vgg = packaged("lpips-vgg")
    alex = packaged("lpips-alex")
    alex.write_bytes(vgg.read_bytes())
    with pytest.raises(UserError) as error:
        Network(ALEX)
    assert (error.value.path, error.value.code) == (str(alex), "unreadable")


def rounded(x: Tensor) -> Tensor:
    """`x` (float32) with the 10 bits of mantissa that TF32 keeps."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


class TF32(TorchFunctionMode):
    """Convolutions as GPUs since Ampere make them by default, and so made the published LPIPS."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.conv2d and args[0].dtype == torch.float32:
            args = (rounded(args[0]), rounded(args[1]), *args[2:])
        return func(*args, **(kwargs or {}))


def gaps(folder: Path, sr: Path, hr: Path, out: Path) -> dict[str, float]:
    """Per metric, the largest difference from a published score, over all images."""
    [summary] = score_folders([Task(sr, hr, {"osediff": out})], ["lpips", "niqe"], progress=False)
    assert not summary.unavailable
    with (folder / "osediff_published_scores.csv").open(newline="") as file:
        published = {(row["image"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(list(sr.iterdir()))
    return {
        metric: max(
            abs(float(row["value"]) - published[row["image"], metric]) for row in rows if row["metric"] == metric
        )
        for metric in ("lpips", "niqe")
    }


@pytest.mark.skipif(not DATA, reason="set FRAMER_TEST_DATA to a folder of published images and scores")
def test_published_scores_of_three_images(packaged, tmp_path: Path) -> None:
    """OSEDiff's images and the log that its authors published with them."""
    packaged("lpips-alex"), packaged("niqe")
    folder = Path(str(DATA), "realsr_dev")
    for side in ("osediff", "hr"):
        (tmp_path / side).mkdir()
        for path in sorted((folder / side).iterdir())[:3]:
            Image.open(path).save(tmp_path / side / path.name)
    found = gaps(folder, tmp_path / "osediff", tmp_path / "hr", tmp_path / "s.csv")
    assert found["lpips"] < 2e-4 and found["niqe"] < 0.03


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="set FRAMER_TEST_DATA to a folder of published images and scores")
@pytest.mark.parametrize("name", ["realsr_dev", "drealsr_dev"])
def test_published_scores_of_all_images(packaged, tmp_path: Path, name: str) -> None:
    packaged("lpips-alex"), packaged("niqe")
    folder = Path(str(DATA), name)
    with TF32():
        found = gaps(folder, folder / "osediff", folder / "hr", tmp_path / "s.csv")
    assert found["lpips"] < 4e-5 and found["niqe"] < 0.03
    # In float32 two of the 39 images are more than 2e-4 away.
    assert gaps(folder, folder / "osediff", folder / "hr", tmp_path / "float.csv")["lpips"] < 4e-4
