"""Parts of a diffusers pipeline folder, read without a network and without a tensor missing."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from framer.errors import UserError

UNREADABLE = (OSError, ValueError, TypeError, RuntimeError, KeyError, SafetensorError)
"""What diffusers and transformers raise for a folder that is missing, damaged or of another model."""


def read_part(cls: Any, folder: Path) -> Any:
    """A model of a diffusers class, in float32.

    Raises:
        UserError: it is missing or damaged, or its tensors are not those of its configuration.
    """
    try:
        model, info = cls.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, torch_dtype=torch.float32
        )
    except UNREADABLE as error:
        raise UserError(f"{folder}: cannot be read ({one_line(error)}); fetch the base again") from None
    # diffusers fills what is missing with random numbers and goes on.
    if wrong := [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]:
        raise UserError(f"{folder}: {wrong[0]!r} and {len(wrong) - 1} more tensors do not fit its config.json")
    return model


def one_line(error: Exception) -> str:
    """The beginning of an error's message."""
    return " ".join(str(error).split())[:120]
