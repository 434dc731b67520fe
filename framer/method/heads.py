"""From a layer's features to a map that can be compared with the model's output."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framer.errors import UserError
from framer.method.hooks import first_tensor, record


class AlignmentHeads(nn.Module):
    """For U-Nets, whose layers differ in width and size: one 1x1 convolution a layer, then a bilinear resize.

    The paper names both parts; which layers, and that the heads are trained with the loss, is not stated there. They
    are used in training only. Convolving first is cheaper, and the same: the resize is linear, and its weights sum to
    one.
    """

    def __init__(self, widths: Sequence[int], channels: int):
        """One head for each of `widths`, the layers' channels, to `channels` of the model's output."""
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(width, channels, kernel_size=1) for width in widths)

    def forward(self, features: Sequence[Tensor], size: torch.Size | Sequence[int]) -> list[Tensor]:
        """Features (B, width, h, w), each its own -> maps (B, channels, *size).

        Raises:
            UserError: there are not as many features as heads.
        """
        if len(features) != len(self.heads):
            raise UserError(f"AlignmentHeads: {len(self.heads)} heads for {len(features)} layers; make one for each")
        # Heads are trained in float32 also where the model is frozen in half precision.
        maps = (head(x.to(next(head.parameters()).dtype)) for head, x in zip(self.heads, features, strict=True))
        return [F.interpolate(x, tuple(size), mode="bilinear", align_corners=False) for x in maps]

    @torch.no_grad()
    def fit(self, seen: Iterable[tuple[Sequence[Tensor], Tensor]], ridge: float = 1e-3) -> None:
        """Set every head to the least-squares readout of a target, in closed form and float64.

        Args:
            seen: batches of features (B, width, h, w), each its own, and their target (B, channels, H, W).
            ridge: penalty on the weights, not on the bias, in units of a channel's mean square.
        """
        sums: list[tuple[Tensor, Tensor]] = []
        for features, target in seen:
            wanted = target.double().movedim(1, -1).flatten(0, 2)
            for i, x in enumerate(features):
                x = F.interpolate(x.double(), target.shape[-2:], mode="bilinear", align_corners=False)
                rows = F.pad(x.movedim(1, -1).flatten(0, 2), (0, 1), value=1.0)
                gram, products = rows.T @ rows, rows.T @ wanted
                if i == len(sums):
                    sums.append((gram, products))
                else:
                    sums[i] = (sums[i][0] + gram, sums[i][1] + products)
        for head, (gram, products) in zip(self.heads, sums, strict=True):
            width = len(gram) - 1
            penalty = gram.new_full((width + 1,), ridge * (gram.trace() - gram[-1, -1]).item() / width)
            penalty[-1] = 0
            solution = torch.linalg.solve(gram + penalty.diag(), products)
            weight, bias = head.parameters()
            weight.copy_(solution[:-1].T.reshape(weight.shape))
            bias.copy_(solution[-1])


class Aligned(nn.Module):
    """A U-Net and its alignment heads as one module: what the optimiser sees and DDP wraps.

    The heads run inside `forward`, so that their gradients, too, are averaged over ranks. Train this; save and restore
    with `model` alone, which is unchanged.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str],
        heads: AlignmentHeads,
        select: Callable[[Any], Tensor] = first_tensor,
    ):
        """`layers` and `select` as for `record`; one head a layer, in the order in which the layers run."""
        super().__init__()
        self.model = model
        self.heads = heads
        self._taps = record(model, layers, select)

    @classmethod
    def around(
        cls,
        model: nn.Module,
        layers: str | Sequence[str],
        *args: Any,
        select: Callable[[Any], Tensor] = first_tensor,
        **kwargs: Any,
    ) -> "Aligned":
        """Make heads that fit, by one forward pass of the model without gradient on example inputs.

        Args:
            model, layers, select: as for the constructor.
            args, kwargs: what the model takes.
        """
        with torch.no_grad(), record(model, layers, select) as taps:
            output = first_tensor(_tensors(model(*args, **kwargs)))
            widths = [feature.shape[1] for feature in taps.take().values()]
        return cls(model, layers, AlignmentHeads(widths, output.shape[1]).to(output.device), select)

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, list[Tensor]]:
        """The model's output (B, C, H, W), and the layers' maps of the same shape."""
        output = first_tensor(_tensors(self.model(*args, **kwargs)))
        return output, self.heads(list(self._taps.take().values()), output.shape[-2:])

    def release(self) -> nn.Module:
        """The bare model, without hooks, as it is used for inference."""
        self._taps.close()
        return self.model


def _tensors(output: Any) -> Any:
    """A diffusers output as a tuple."""
    return output.to_tuple() if hasattr(output, "to_tuple") else output


def final_projection(model: nn.Module, tokens: Sequence[Tensor], temb: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """For DiTs: every layer's tokens through the model's own last normalisation and projection.

    As in the released code. No weights are added; what the last layer gives here is the model's output. The released
    code keeps both frozen; here the loss trains them wherever they require gradients.

    Args:
        model: has `norm_out`, `proj_out` and `config.patch_size`, as diffusers' SD3 transformer.
        tokens: a layer's output each, (B, h * w, D).
        temb: the timestep embedding that conditions `norm_out`, (B, D): the output of `time_text_embed`.
        size: (h, w), the grid of patches.

    Returns:
        Maps (B, C, h * patch, w * patch).
    """
    patch: int = model.config.patch_size  # type: ignore[union-attr, assignment]
    norm: Callable[..., Tensor] = model.norm_out  # type: ignore[assignment]
    project: Callable[..., Tensor] = model.proj_out  # type: ignore[assignment]
    return [unpatchify(project(norm(x, temb)), size, patch) for x in tokens]


def unpatchify(tokens: Tensor, size: tuple[int, int], patch: int) -> Tensor:
    """(B, h * w, patch * patch * C) -> (B, C, h * patch, w * patch); the channel is the fastest within a token."""
    h, w = size
    grid = tokens.unflatten(1, (h, w)).unflatten(-1, (patch, patch, -1))
    return grid.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
