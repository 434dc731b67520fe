"""FRAMER itself, in pure torch: `Recipe` is a reading of the method, `FramerLoss` computes it, the rest feeds it."""

import importlib
from typing import TYPE_CHECKING, Any

from framer.method.recipe import Recipe

if TYPE_CHECKING:
    from framer.method.frequency import FrequencyLoss
    from framer.method.heads import Aligned, AlignmentHeads, final_projection
    from framer.method.hooks import record
    from framer.method.loss import FramerLoss
    from framer.method.prediction import compared, to_x0

_LAZY = {
    "Aligned": "heads",
    "AlignmentHeads": "heads",
    "FramerLoss": "loss",
    "FrequencyLoss": "frequency",
    "compared": "prediction",
    "final_projection": "heads",
    "record": "hooks",
    "to_x0": "prediction",
}

__all__ = [
    "Aligned",
    "AlignmentHeads",
    "FramerLoss",
    "FrequencyLoss",
    "Recipe",
    "compared",
    "final_projection",
    "record",
    "to_x0",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"framer.method.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
