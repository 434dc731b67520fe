"""PiSA-SR: a one-step SD 2.1 U-Net with a pixel-level and a semantic-level LoRA."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framer.backbones.pisa_sr.lora_file import load_lora

__all__ = ["load_lora"]


def __getattr__(name: str) -> Any:
    if name == "load_lora":  # on first use: settings are read without torch
        return importlib.import_module("framer.backbones.pisa_sr.lora_file").load_lora
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
