import numpy as np
import pytest
import torch

from framer.data.degradation.jpeg import jpeg
from tests.fixtures.photographs import astronaut


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_libjpeg_agrees_with_a_second_binding(quality):
    cv2 = pytest.importorskip("cv2")
    image = astronaut(96, 96)
    bgr = image.permute(1, 2, 0).numpy()[:, :, ::-1].astype(np.uint8)
    _, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(file, cv2.IMREAD_COLOR)[:, :, ::-1]
    made = jpeg(image, quality)
    assert np.abs(made.permute(1, 2, 0).numpy() - expected.astype(float)).max() <= 2


def test_levels_are_clipped_and_rounded_first():
    image = astronaut(24, 40)
    wild = image + torch.linspace(-0.4, 0.4, 40)
    wild[0][image[0] > 250] += 90
    wild[0][image[0] < 5] -= 90
    assert torch.equal(jpeg(wild, 80), jpeg(wild.clamp(0, 255).round(), 80))
