"""The test that every number from a network passes before an image, a feature or a cache is made from it."""

from torch import Tensor

from framer.errors import UserError

LARGEST = 1e4
"""Images are near [0, 1] and latents near unit variance: a larger value means that a network has overflowed."""


def finite(values: Tensor, what: str) -> Tensor:
    """The values themselves.

    Args:
        values: output of a network, in units in which most are of order 1.
        what: for the message, such as "step 3 of 40".

    Raises:
        UserError: one of them is NaN, infinite, or beyond `LARGEST` in magnitude.
    """
    largest = values.detach().abs().max().item() if values.numel() else 0.0
    if not largest <= LARGEST:  # NaN is not
        raise UserError(f"{what}: the network's output is not finite or reaches {largest:.3g}", code="diverged")
    return values
