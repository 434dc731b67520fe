"""FRAMER for one's own training script, and the harness that checks its claims.

`from framer import FramerLoss, Recipe` is all that a training script needs. Both names are loaded on first use, so that
`import framer` and the command line stay free of torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framer.method import FramerLoss, Recipe

__version__ = "0.1.0"
__all__ = ["FramerLoss", "Recipe", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("FramerLoss", "Recipe"):
        return getattr(importlib.import_module("framer.method"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
