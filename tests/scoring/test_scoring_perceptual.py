"""pyiqa with weights that are made here, and with ways to the network closed."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyiqa")

from framer.errors import UserError  # noqa: E402
from framer.scoring import perceptual  # noqa: E402
from framer.scoring.protocols import Protocol  # noqa: E402

LPIPS, NIQE, MUSIQ = Protocol.named("osediff").select(["lpips", "niqe", "musiq"])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_images_become_tensors():
    image = np.array([[[0, 51, 255], [255, 0, 102]]], np.uint8)
    tensor = perceptual.as_tensor(image).cpu()
    assert tensor.shape == (1, 3, 1, 2)
    assert torch.allclose(tensor[0, :, 0, 0], torch.tensor([0, 0.2, 1]))


def test_musiq_from_the_folder(weights: Path):
    from pyiqa.archs.musiq_arch import MUSIQ as Network

    torch.manual_seed(0)
    network = Network(pretrained=False, num_class=1).eval()
    torch.save(network.state_dict(), weights / MUSIQ.weights[0])
    images = torch.rand(3, 3, 40, 56)
    scorer = perceptual.Network(MUSIQ)
    values = [scorer(image[None], None) for image in images]
    with torch.inference_mode():
        expected = network(images)[:, 0].tolist()
    assert len(set(values)) == 3
    assert values == pytest.approx(expected, abs=1e-5), "batched and single differ"
    assert values == [scorer(image[None], None) for image in images]


def test_nothing_is_downloaded(weights: Path):
    """LPIPS would fetch its backbone, whatever it is told."""
    with pytest.raises(UserError, match=r"alexnet-owt-7be5be79\.pth: scoring does not download"):
        perceptual.Network(LPIPS)
    assert not list((weights / "hub" / "checkpoints").iterdir())


def test_a_pickle_with_code_is_refused(weights: Path):
    trace = weights / "ran"

    class Payload:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(trace),))

    (weights / MUSIQ.weights[0]).write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(UserError, match=r"musiq_koniq_ckpt-e95806b9\.pth: not weights of musiq@koniq") as error:
        perceptual.Network(MUSIQ)
    assert not trace.exists()
    assert "\n" not in str(error.value)


def test_surroundings_are_left_as_they_were(weights: Path):
    import timm
    from pyiqa.utils import download_util

    def surroundings() -> tuple:
        names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "HF_HUB_OFFLINE")
        patched = (torch.hub.download_url_to_file, download_util.DEFAULT_CACHE_DIR, timm.create_model)
        return (torch.hub.get_dir(), *patched, *(os.environ.get(name) for name in names))

    before = surroundings()
    with pytest.raises(UserError):
        perceptual.Network(NIQE)
    assert surroundings() == before
