import numpy as np
import pytest
import torch

from framer.data.degradation.jpeg import libjpeg, tensor_jpeg
from tests.fixtures.photographs import astronaut


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_libjpeg_agrees_with_a_second_binding(quality):
    cv2 = pytest.importorskip("cv2")
    image = astronaut(96, 96)
    bgr = image.permute(1, 2, 0).numpy()[:, :, ::-1].astype(np.uint8)
    _, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(file, cv2.IMREAD_COLOR)[:, :, ::-1]
    (made,) = libjpeg([image], [quality])
    assert np.abs(made.permute(1, 2, 0).numpy() - expected.astype(float)).max() <= 2


@pytest.mark.parametrize("kind", ["photograph", "noise", "black and white"])
def test_tensor_arithmetic_is_libjpeg_to_the_bit(kind):
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    images, qualities = [], []
    # Every quality once, and sizes that end at each row and column of a block, small ones too.
    for quality in range(1, 101):
        h, w = (int(n) for n in rng.integers(1, 70, 2))
        if kind == "photograph":
            images.append(astronaut(h, w, *rng.integers(0, 400, 2)))
        elif kind == "noise":
            images.append(torch.randint(0, 256, (3, h, w), generator=generator).float())
        else:
            images.append(torch.randint(0, 2, (3, h, w), generator=generator) * 255.0)
        qualities.append(quality)
    for made, expected in zip(tensor_jpeg(images, qualities), libjpeg(images, qualities), strict=True):
        assert made.dtype == expected.dtype == torch.uint8
        assert torch.equal(made, expected)


@pytest.mark.parametrize("codec", [libjpeg, tensor_jpeg])
def test_levels_are_clipped_and_rounded_first(codec):
    image = astronaut(24, 40)
    wild = image + torch.linspace(-0.4, 0.4, 40)
    wild[0][image[0] > 250] += 90
    wild[0][image[0] < 5] -= 90
    assert torch.equal(codec([wild], [80])[0], codec([wild.clamp(0, 255).round()], [80])[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_bits():
    image = astronaut(61, 77)
    assert torch.equal(tensor_jpeg([image.cuda()], [40])[0].cpu(), libjpeg([image], [40])[0])
