"""Strict, offline reading of the parts of a diffusers pipeline folder."""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from framer.errors import UserError, named, one_line

UNREADABLE = (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError)
"""Exceptions of diffusers and transformers for a folder that is missing, damaged or of another model."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file, whose tensors are read within the block.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot be read as safetensors ({one_line(error)})", path=path, code="unreadable") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file; errors as `opened`."""
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, on any device and in any memory layout.

    Args:
        path: a temporary name; the caller renames it.
        tensors: by name.
        metadata: at most one entry for equal bytes, since the order of several is not fixed.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path, metadata)
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        code = int(found[1]) if found else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from None


def read_part(cls: Any, folder: Path) -> Any:
    """Read a model of a diffusers class, in float32.

    Raises:
        UserError: it is missing or damaged, or its tensors are not those of its configuration.
    """
    try:
        model, info = cls.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, torch_dtype=torch.float32
        )
    except UNREADABLE as error:
        raise UserError(
            f"cannot be read ({one_line(error)}); fetch the base again", path=folder, code="unreadable"
        ) from None
    # diffusers initializes missing tensors with random numbers, and only warns.
    if wrong := [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]:
        raise UserError(f"{named(map(repr, map(str, wrong)), 1)}: tensors that do not fit its config.json", path=folder)
    return model
