"""DiT4SR: an SD 3.5 DiT with a stream of LR tokens, trained by flow matching."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framer.backbones.dit4sr.transformer import DiT4SRTransformer

__all__ = ["DiT4SRTransformer"]


def __getattr__(name: str) -> Any:
    if name == "DiT4SRTransformer":  # on first use: settings are read without torch
        return importlib.import_module("framer.backbones.dit4sr.transformer").DiT4SRTransformer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
