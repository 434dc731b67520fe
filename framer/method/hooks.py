"""Outputs of a model's layers, with gradient, while it trains."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from framer.errors import UserError


def first_tensor(output: Any) -> Tensor:
    """A layer's output when it is a tensor, else the first tensor of a tuple or list, as of diffusers' U-Net blocks."""
    for item in output if isinstance(output, (tuple, list)) else (output,):
        if isinstance(item, Tensor):
            return item
    raise UserError(f"record: a layer returns {type(output).__name__} without a tensor; pass `select`")


class Taps:
    """What `record` returns: hooks that stay on the model, and the outputs of its last forward pass."""

    def __init__(self, model: nn.Module, layers: str | Sequence[str], select: Callable[[Any], Tensor]):
        model = unwrapped(model)
        patterns = [layers] if isinstance(layers, str) else list(layers)
        named = dict(model.named_modules())
        for pattern in patterns:
            if not any(_matches(pattern, name) for name in named):
                some = ", ".join(list(named)[1:9])
                raise UserError(f"record: no layer is named {pattern!r}; the first ones are {some}")
        self.names = tuple(name for name in named if any(_matches(pattern, name) for pattern in patterns))
        """The layers as the model registers them; a U-Net's middle block comes last there."""
        self._outputs: dict[str, Tensor] = {}
        self._select = select
        self._open = False
        self._handles = [
            model.register_forward_pre_hook(self._begin),
            model.register_forward_hook(self._end),
            *(named[name].register_forward_hook(partial(self._keep, name)) for name in self.names),
        ]

    def take(self) -> dict[str, Tensor]:
        """The outputs of the last forward pass by name, in the order in which the layers ran; they are forgotten here.

        Raises:
            UserError: there was no forward pass since, or a layer took no part in it.
        """
        missing = [name for name in self.names if name not in self._outputs]
        if missing:
            raise UserError(
                f"record: no output of {missing[0]} ({len(missing)} of {len(self.names)} missing); run the model first,"
                " and call record() before a compiled model runs for the first time"
            )
        outputs, self._outputs = self._outputs, {}
        return outputs

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()
        self._outputs = {}

    def __enter__(self) -> "Taps":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Gradient checkpointing runs layers again in the backward pass, outside the model's own forward. Only what runs
    # between the model's first and last hook is recorded, so every layer is there once, and nothing recomputed is kept
    # alive.
    def _begin(self, *_: Any) -> None:
        self._outputs = {}
        self._open = True

    def _end(self, *_: Any) -> None:
        self._open = False

    def _keep(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if self._open:
            if name in self._outputs:
                raise UserError(f"record: {name} runs more than once in a forward pass; tap the layers around it")
            self._outputs[name] = self._select(output)

    # A copied model, as for an average of the weights, has taps of its own; outputs have a graph and cannot be copied.
    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_outputs": {}, "_open": False}


def record(model: nn.Module, layers: str | Sequence[str], select: Callable[[Any], Tensor] = first_tensor) -> Taps:
    """Record the outputs of some layers, with gradient, in every forward pass from now on.

    Works under autocast, `torch.compile`, non-reentrant gradient checkpointing and DDP, before or after wrapping; a
    compiled model must not have run yet.

    Args:
        model: any module.
        layers: names as in `model.named_modules()`, or patterns: `*` stands for anything but a dot, `**` also for dots.
            `transformer_blocks.*` are the blocks themselves, not what is in them.
        select: picks the tensor out of what a layer returns.

    Raises:
        UserError: a pattern matches no layer.
    """
    return Taps(model, layers, select)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside DDP and `torch.compile`."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def _matches(pattern: str, name: str) -> bool:
    parts = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^.]*"}
    return bool(name) and re.fullmatch("".join(wild.get(part) or re.escape(part) for part in parts), name) is not None
