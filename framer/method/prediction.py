"""From a model's prediction to an estimate of the clean latent."""

from collections.abc import Iterable
from typing import Literal

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
    alpha = _signal(kind, alpha)
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
    if _known(space) == "output":
        return list(outputs)
    return [to_x0(output, kind, noisy, sigma, alpha) for output in outputs]


def truth(
    clean: Tensor, space: Space, kind: Prediction, noisy: Tensor, sigma: Tensor, alpha: Tensor | None = None
) -> Tensor:
    """The clean latent in the space in which a recipe compares: as it is, or as the output that implies it.

    In the space of the output it is the inverse of `to_x0`, whose arguments it takes:

        epsilon:  eps = (x_t - alpha x0) / sigma
        v:        v = (alpha x_t - x0) / sigma
        flow:     v = (x_t - x0) / sigma

    Args:
        clean: x0, (B, C, H, W).
        space: `Recipe.space`.
        kind, noisy, alpha: as for `to_x0`.
        sigma: noise level per sample, (B,) or (); > 0 in the space of the output.

    Raises:
        UserError: as `compared`.
    """
    if _known(space) == "x0":
        return clean
    sigma = _broadcast(sigma)
    if kind == "flow":
        return (noisy - clean) / sigma
    alpha = _signal(kind, alpha)
    return (noisy - alpha * clean) / sigma if kind == "epsilon" else (alpha * noisy - clean) / sigma


def _known(space: Space) -> Space:
    if space not in ("x0", "output"):
        raise UserError(f"{space!r} is not one of x0, output", key="space")
    return space


def _signal(kind: Prediction, alpha: Tensor | None) -> Tensor:
    """alpha of a kind whose formulas have one, to broadcast against maps."""
    if kind not in ("epsilon", "v"):
        raise UserError(f"{kind!r} is not one of epsilon, v, flow", key="kind")
    if alpha is None:
        raise UserError(f"required for the prediction {kind!r}", key="alpha", code="missing")
    return _broadcast(alpha)


def _broadcast(level: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1); () stays."""
    return level.reshape(-1, 1, 1, 1) if level.ndim else level
