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
    raise UserError(f"a recorded layer returns {type(output).__name__} without a tensor; pass `select`", key="select")


class LayerRecorder:
    """Hooks on a model's layers, and the outputs of its last forward pass; made by `record`."""

    def __init__(self, model: nn.Module, layers: str | Sequence[str], select: Callable[[Any], Tensor]):
        model = unwrapped(model)
        patterns = [layers] if isinstance(layers, str) else list(layers)
        named = dict(model.named_modules())
        for pattern in patterns:
            if not any(_matches(pattern, name) for name in named):
                some = ", ".join(list(named)[1:9])
                raise UserError(
                    f"no layer is named {pattern!r}; the first ones are {some}", key="layers", code="unknown"
                )
        self.names = tuple(name for name in named if any(_matches(pattern, name) for pattern in patterns))
        """The layers in the order of registration; a U-Net's middle block is last there."""
        self._outputs: dict[str, Tensor] = {}
        self._select = select
        self._open = False
        self._handles = [
            model.register_forward_pre_hook(self._begin),
            model.register_forward_hook(self._end),
            *(named[name].register_forward_hook(partial(self._keep, name)) for name in self.names),
        ]

    def take(self) -> dict[str, Tensor]:
        """Return the outputs of the last forward pass by name, in execution order, and drop the references to them.

        Raises:
            UserError: no forward pass since the last call, or one that skipped a layer.
        """
        missing = [name for name in self.names if name not in self._outputs]
        if missing:
            raise UserError(
                f"no output of {missing[0]} ({len(missing)} of {len(self.names)} missing); run the model first, and"
                " call record() before a compiled model runs for the first time",
                key="layers",
                code="missing",
            )
        outputs, self._outputs = self._outputs, {}
        return outputs

    def close(self) -> None:
        """Remove the hooks from the model."""
        for handle in self._handles:
            handle.remove()
        self._outputs = {}

    def __enter__(self) -> "LayerRecorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Gradient checkpointing runs layers again in the backward pass, outside the model's own forward. Only outputs
    # between the model's first and last hook are recorded, so each layer is recorded once, and no recomputed tensor is
    # kept alive.
    def _begin(self, *_: Any) -> None:
        self._outputs = {}
        self._open = True

    def _end(self, *_: Any) -> None:
        self._open = False

    def _keep(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if self._open:
            if name in self._outputs:
                raise UserError(
                    f"{name} runs more than once in a forward pass; record the layers around it", key="layers"
                )
            self._outputs[name] = self._select(output)

    # A copied model, such as an EMA, has a recorder of its own; outputs have a graph and cannot be copied.
    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_outputs": {}, "_open": False}


def record(
    model: nn.Module, layers: str | Sequence[str], select: Callable[[Any], Tensor] = first_tensor
) -> LayerRecorder:
    """Record the outputs of some layers, with gradient, in every forward pass from now on.

    Works under autocast, `torch.compile`, non-reentrant gradient checkpointing, DDP, FSDP and PEFT, before or after
    wrapping; a compiled model must not have run yet.

    Args:
        model: any module.
        layers: names as in `unwrapped(model).named_modules()`, or patterns: `*` matches anything but a dot, `**` also
            dots. `transformer_blocks.*` are the blocks themselves, not their submodules.
        select: picks the tensor out of a layer's output.

    Raises:
        UserError: a pattern matches no layer.
    """
    return LayerRecorder(model, layers, select)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside DDP, FSDP, `torch.compile` and PEFT's wrapper, however they are nested."""
    while True:
        inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else None
        for name in ("_orig_mod", "_fsdp_wrapped_module"):
            inner = inner or model._modules.get(name)
        if hasattr(type(model), "get_base_model"):
            inner = model.get_base_model()  # type: ignore[operator]
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def _matches(pattern: str, name: str) -> bool:
    parts = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^.]*"}
    return bool(name) and re.fullmatch("".join(wild.get(part) or re.escape(part) for part in parts), name) is not None
