"""Networks from files of weights: Real-ESRGAN's own against ncnn, and small ones against plain convolutions."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGAN

from framer.backbones.feed_forward.model import FeedForward
from framer.backbones.feed_forward.settings import FeedForwardRestore
from framer.data.images import read_rgb
from framer.data.pairs import to_rgb, to_tensor
from framer.errors import UserError
from tests.fixtures.real_esrgan import restored_by_ncnn, state_dict

OPTIONS = FeedForwardRestore()


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(scale: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    """The tensors of an ESRGAN of two blocks with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ESRGAN(num_filters=8, num_blocks=1, scale=scale).state_dict()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"params_ema": network()}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def lr(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stem", ["Canon_001_LR4", "Canon_006_LR4", "Nikon_001_LR4"])
def test_real_esrgan_restores_as_ncnn_does(tmp_path: Path, stem: str) -> None:
    """Two implementations, one set of published weights, a crop of a real photograph."""
    if not (folder := os.environ.get("FRAMER_TEST_DATA")):
        pytest.skip("FRAMER_TEST_DATA names no folder of images")
    torch.save({"params_ema": state_dict()}, tmp_path / "RealESRGAN_x4plus.pth")
    crop = read_rgb(Path(folder, "realsr_dev", "lr", f"{stem}.png"))[48:62, 40:56]
    model = FeedForward(tmp_path / "RealESRGAN_x4plus.pth")
    ours = to_rgb(model.restore_image(to_tensor(crop).unsqueeze(0), OPTIONS)[0])
    theirs = restored_by_ncnn(crop)
    assert ours.shape == theirs.shape == (56, 64, 3)
    error = np.mean((ours.astype(float) - theirs) ** 2)
    assert error == 0 or 10 * np.log10(255**2 / error) > 80


def test_a_file_is_read_in_every_form(tmp_path: Path, file: Path) -> None:
    """What training keeps around the tensors, their prefixes, and the format of the file make no difference."""
    image, state = lr(9, 12), network()
    expected = FeedForward(file).restore_image(image, OPTIONS)
    assert expected.shape == (1, 3, 36, 48)
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "ddp.pt")
    save_file(state, tmp_path / "net.safetensors")
    for name in ("ddp.pt", "net.safetensors"):
        assert torch.equal(FeedForward(tmp_path / name).restore_image(image, OPTIONS), expected)


def test_tiles_give_the_whole_image(file: Path) -> None:
    """But for what blending leaves of their edges. No tile is padded with what is not there."""
    model, image = FeedForward(file), lr(80, 70)
    whole = model.restore_image(image, OPTIONS)
    tiled = model.restore_image(image, FeedForwardRestore(tile=48, overlap=30))
    assert (whole - tiled).abs().max() < 2e-3
    assert (whole - tiled).square().mean() < 1e-8
    assert not torch.equal(whole, tiled)


class Evil:
    def __reduce__(self) -> tuple:
        return os.system, ("touch evil",)


def spoilt(path: Path, kind: str) -> None:
    if kind == "scale":
        torch.save(network(scale=2), path)
    elif kind == "unknown":
        torch.save({"some.weight": torch.zeros(3)}, path)
    elif kind == "shapes":
        state = network()
        torch.save(state | {list(state)[-1]: torch.zeros(5)}, path)
    elif kind == "code":
        path.write_bytes(pickle.dumps(Evil()))
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "bytes":
        path.write_bytes(b"\0" * 64)


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("scale", "mismatch", "enlarges 2 times, not 4"),
        ("unknown", "unreadable", "no architecture"),
        ("shapes", "unreadable", "do not fit the architecture"),
        ("code", "unreadable", "tensors alone"),
        ("tensor", "unreadable", "state dict"),
        ("bytes", "unreadable", "tensors alone"),
        ("missing", "missing", "no such file"),
    ],
)
def test_what_it_cannot_use_is_one_line(tmp_path, monkeypatch, kind: str, code: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    spoilt(path := tmp_path / "net.pth", kind)
    with pytest.raises(UserError, match=words) as caught:
        FeedForward(path)
    assert caught.value.path == str(path)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "evil").exists()


def test_an_overflow_is_no_picture(tmp_path: Path) -> None:
    """Although spandrel clamps what a network gives."""
    state = {name: tensor * 1e6 for name, tensor in network().items()}
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(UserError, match="not finite or reaches") as caught:
        FeedForward(tmp_path / "net.pth").restore_image(lr(8, 8), OPTIONS)
    assert caught.value.code == "diverged"
