"""From a layer's features to a map that is comparable with the model's output."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framer.errors import UserError
from framer.method.hooks import first_tensor, record, unwrapped


class AlignmentHeads(nn.Module):
    """For U-Nets, whose layers differ in width and size: one 1x1 convolution per layer, then a bilinear resize.

    The paper names both parts; which layers, and that the heads are trained with the loss, is not stated there. They
    are used in training only. Convolving before resizing is cheaper and equal: the resize is linear, and its weights
    sum to one.
    """

    def __init__(self, widths: Sequence[int], channels: int):
        """Create one head per entry of `widths`, the layers' channels, to `channels` of the model's output."""
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(width, channels, kernel_size=1) for width in widths)

    def forward(self, features: Sequence[Tensor], size: torch.Size | Sequence[int]) -> list[Tensor]:
        """Map features (B, width, h, w), one size per layer, to (B, channels, *size).

        Raises:
            UserError: the numbers of features and heads differ.
        """
        if len(features) != len(self.heads):
            raise UserError(
                f"{len(self.heads)} heads for {len(features)} layers; make one per layer",
                key="features",
                code="mismatch",
            )
        # Heads are trained in float32 also where the model is frozen in half precision.
        maps = (head(x.to(next(head.parameters()).dtype)) for head, x in zip(self.heads, features, strict=True))
        return [F.interpolate(x, tuple(size), mode="bilinear", align_corners=False) for x in maps]

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[Sequence[Tensor], Tensor]], ridge: float = 1e-3) -> None:
        """Set every head to the least-squares readout of a target, in closed form and float64.

        Args:
            batches: features (B, width, h, w), one size per layer, and their target (B, channels, H, W).
            ridge: penalty on the weights, not on the bias, in units of a channel's mean square.
        """
        sums: list[tuple[Tensor, Tensor]] = []
        for features, target in batches:
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
    """A U-Net and its alignment heads as one module, for the optimizer and DDP.

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
        """`layers` and `select` as for `record`; one head per layer, in execution order."""
        super().__init__()
        self.model = model
        self.heads = heads
        self._recorder = record(model, layers, select)

    @classmethod
    def around(
        cls,
        model: nn.Module,
        layers: str | Sequence[str],
        *args: Any,
        select: Callable[[Any], Tensor] = first_tensor,
        **kwargs: Any,
    ) -> "Aligned":
        """Create matching heads by one forward pass of the model without gradient on example inputs.

        Args:
            model, layers, select: as for the constructor.
            args, kwargs: inputs of the model.
        """
        with torch.no_grad(), record(model, layers, select) as recorder:
            output = first_tensor(_tensors(model(*args, **kwargs)))
            widths = [feature.shape[1] for feature in recorder.take().values()]
        return cls(model, layers, AlignmentHeads(widths, output.shape[1]).to(output.device), select)

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, list[Tensor]]:
        """Run the model: its output (B, C, H, W), and the layers' maps of the same shape."""
        output = first_tensor(_tensors(self.model(*args, **kwargs)))
        return output, self.heads(list(self._recorder.take().values()), output.shape[-2:])

    def release(self) -> nn.Module:
        """Remove the hooks and return the bare model for inference."""
        self._recorder.close()
        return self.model


def _tensors(output: Any) -> Any:
    """A diffusers output as a tuple."""
    return output.to_tuple() if hasattr(output, "to_tuple") else output


def final_projection(model: nn.Module, tokens: Sequence[Tensor], temb: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """For DiTs: every layer's tokens through the model's own last normalization and projection.

    As in the released code. No weights are added; the last layer gives the model's output. The released code keeps both
    modules frozen; here the loss trains them wherever they require gradients.

    Outside autocast, 16-bit tokens of a float32 model run under autocast of their dtype, as the model ran; otherwise
    the tokens are cast to the dtype of the weights.

    Args:
        model: has `norm_out`, `proj_out` and `config.patch_size`, as diffusers' SD3 transformer; also inside DDP, FSDP
            (as part of the root's parameters), `torch.compile` or PEFT's wrapper.
        tokens: one output per layer, (B, h * w, D).
        temb: the timestep embedding that conditions `norm_out`, (B, D): the output of `time_text_embed`.
        size: (h, w), the grid of patches.

    Returns:
        Maps (B, C, h * patch, w * patch).
    """
    inner: Any = unwrapped(model)
    device, weight = temb.device.type, next(inner.proj_out.parameters()).dtype
    autocast = torch.is_autocast_enabled(device)
    half = next((x.dtype for x in tokens if x.dtype in (torch.bfloat16, torch.float16)), None)
    with torch.autocast(device, half) if half and weight == torch.float32 and not autocast else nullcontext():
        if not torch.is_autocast_enabled(device):
            tokens, temb = [x.to(weight) for x in tokens], temb.to(weight)
        maps = [inner.proj_out(inner.norm_out(x, temb)) for x in tokens]
    return [unpatchify(x, size, inner.config.patch_size) for x in maps]


def unpatchify(tokens: Tensor, size: tuple[int, int], patch: int) -> Tensor:
    """(B, h * w, patch * patch * C) -> (B, C, h * patch, w * patch); the channel varies fastest within a token."""
    h, w = size
    grid = tokens.unflatten(1, (h, w)).unflatten(-1, (patch, patch, -1))
    return grid.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
