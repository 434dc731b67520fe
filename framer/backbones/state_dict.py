"""State dicts that are loaded exactly: the same names, the same shapes, and an error that lists the difference."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from framer.errors import UserError, named

if TYPE_CHECKING:
    pass

_Module = TypeVar("_Module", bound=nn.Module)


def load_exactly(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors in place; the names and shapes must be the same on both sides.

    Raises:
        UserError: a tensor is missing, unknown or of another shape.
    """
    same_names(own, given, source)
    same_shapes(own, given, source)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(given[name])


def same_names(own: Iterable[str], given: Iterable[str], source: object) -> None:
    """Refuse tensors that are not those of a model.

    Raises:
        UserError: a tensor is missing or unknown; names `source`.
    """
    expected, found = set(own), set(given)
    for problem, names in (("lacks", expected - found), ("has an unknown", found - expected)):
        if names:
            raise UserError(f"{source}: {problem} tensor {named(map(repr, sorted(names)), 1)}; it is of another model")


def same_shapes(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: object) -> None:
    """Refuse tensors of a model, all or some, of other shapes; as `same_names`."""
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(own[name].shape)}"
            raise UserError(f"{source}: {name!r} has the shape {shapes}; it is of another model")


def zeroed(module: _Module) -> _Module:
    """The module with all of its parameters at zero."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
