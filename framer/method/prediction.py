"""From a model's prediction to an estimate of the clean latent."""

from collections.abc import Iterable
from typing import Literal, get_args

from torch import Tensor

from framer.errors import UserError
from framer.method.recipe import Space

Prediction = Literal["epsilon", "v", "flow"]


def to_x0(output: Tensor, kind: Prediction, noisy: Tensor, sigma: Tensor, alpha: Tensor | None = None) -> Tensor:
    """Convert a prediction to the clean latent that it implies.

        epsilon:  x_t = alpha x0 + sigma eps                        ->  x0 = (x_t - sigma eps) / alpha
        v:        v = alpha eps - sigma x0, alpha^2 + sigma^2 = 1   ->  x0 = alpha x_t - sigma v
        flow:     x_t = (1 - sigma) x0 + sigma eps, v = eps - x0    ->  x0 = x_t - sigma v

    One-step residual models such as PiSA-SR are `epsilon` with alpha = sigma = 1.

    Args:
        output: prediction of the model or of one of its layers, (B, C, H, W).
        kind: parametrization of the prediction.
        noisy: x_t, (B, C, H, W).
        sigma: noise level per sample, (B,) or ().
        alpha: signal level per sample, (B,) or (); not needed for `flow`, and > 0 for `epsilon`, which does not
            determine x0 at pure noise.

    Raises:
        UserError: an unknown kind, or no alpha where it is needed.
    """
    sigma = _broadcast(sigma)
    if kind == "flow":
        return noisy - sigma * output
    if kind not in ("epsilon", "v"):
        raise UserError(f"{kind!r} is not one of epsilon, v, flow", key="kind")
    if alpha is None:
        raise UserError(f"required for the prediction {kind!r}", key="alpha", code="missing")
    alpha = _broadcast(alpha)
    return (noisy - sigma * output) / alpha if kind == "epsilon" else alpha * noisy - sigma * output


def compared(
    outputs: Iterable[Tensor],
    space: Space,
    kind: Prediction,
    noisy: Tensor,
    sigma: Tensor,
    alpha: Tensor | None = None,
) -> list[Tensor]:
    """Convert outputs to the space in which a recipe compares them: `Recipe.space`; other arguments as for `to_x0`.

    Raises:
        UserError: an unknown space, or as `to_x0`.
    """
    if space not in get_args(Space):
        raise UserError(f"{space!r} is not one of {', '.join(get_args(Space))}", key="space")
    if space == "output":
        return list(outputs)
    return [to_x0(output, kind, noisy, sigma, alpha) for output in outputs]


def _broadcast(level: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1); () stays."""
    return level.reshape(-1, 1, 1, 1) if level.ndim else level
