"""Strict loading of state dicts: the same names, the same shapes, and an error that lists the difference."""

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TypeVar

import torch
from torch import Tensor, nn

from framer.errors import UserError, named

_Module = TypeVar("_Module", bound=nn.Module)


def load_exactly(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors in place; names and shapes must be equal on both sides.

    Raises:
        UserError: a tensor is missing, unknown or of another shape.
    """
    same_names(own, given, source)
    same_shapes(own, given, source)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(given[name])


def same_names(own: Iterable[str], given: Iterable[str], source: str | PathLike[str]) -> None:
    """Refuse tensors with other names than a model's.

    Raises:
        UserError: a tensor is missing or unknown; its path is `source`.
    """
    expected, found = set(own), set(given)
    for problem, names in (("missing", expected - found), ("unknown", found - expected)):
        if names:
            raise UserError(
                f"{problem} tensor {named(map(repr, sorted(names)), 1)}; it is of another model",
                path=source,
                code="mismatch",
            )


def same_shapes(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str | PathLike[str]) -> None:
    """Refuse tensors of other shapes than a model's; `given` may be a part of them. Errors as `same_names`."""
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(own[name].shape)}"
            raise UserError(f"{name!r} has the shape {shapes}; it is of another model", path=source, code="mismatch")


def zeroed(module: _Module) -> _Module:
    """Set all parameters of a module to zero, and return it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
