"""Scores of restored images under named protocols: `score` computes them, `load_scores` reads them."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framer.scoring.frames import load_scores, score

__all__ = ["load_scores", "score"]


def __getattr__(name: str) -> Any:
    # Not imported: the code of scoring would count as code of all that imports a part of this package.
    if name in __all__:
        return getattr(importlib.import_module("framer.scoring.frames"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
