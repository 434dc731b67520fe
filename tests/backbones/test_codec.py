"""The pixel codec loses nothing and keeps neighbourhoods together."""

import torch

from framer.backbones.codec import PixelCodec


def test_every_8_bit_value_survives_exactly():
    image = torch.arange(256.0).reshape(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    for codec in (PixelCodec(), PixelCodec(factor=2, scale=1.0), PixelCodec(factor=8, scale=0.7)):
        back = codec.decode(codec.encode(image))
        assert torch.equal((back * 255).round(), (image * 255).round())
        assert (back - image).abs().max() <= 2**-23


def test_a_latent_position_is_a_block_of_pixels():
    image = torch.zeros(1, 3, 8, 12)
    image[0, 1, 5, 6] = 1.0  # green, in the block of row 1, column 1
    latent = PixelCodec(factor=4, scale=2.0).encode(image)
    assert latent.shape == (1, 48, 2, 3)
    assert latent.min() == -2 and latent.max() == 2
    assert (latent > 0).nonzero().tolist() == [[0, 16 + 1 * 4 + 2, 1, 1]]
