"""A network from a file of weights, whose architecture `spandrel` recognizes: SwinIR, Real-ESRGAN, HAT and others."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError, canonicalize_state_dict
from torch import Tensor, nn

from framer.backbones.feed_forward.settings import FeedForwardRestore
from framer.backbones.finite import finite
from framer.backbones.loading import read_tensors
from framer.backbones.tiling import Corner, Tiles
from framer.data.degradation.presets import SCALE
from framer.errors import UserError, one_line


class FeedForward:
    """A network that maps LR (1, 3, h, w) to SR (1, 3, 4h, 4w), both in [0, 1], without random numbers.

    Attributes:
        architecture: its name, as spandrel gives it.
    """

    def __init__(self, path: Path):
        """Read a file: a pickle of tensors (.pth, .pt, .ckpt, ...), only ever with `weights_only`, or safetensors.

        Raises:
            UserError: it cannot be read, its architecture is unknown, or it does not enlarge RGB images four times.
        """
        try:
            found = ModelLoader().load_from_state_dict(_state(path))
        except UnsupportedModelError:
            message = "spandrel recognizes no architecture in it; give the weights of a network it supports"
            raise UserError(message, path=path, code="unreadable") from None
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            message = f"its tensors do not fit the architecture that spandrel recognizes ({one_line(error, 150)})"
            raise UserError(message, path=path, code="unreadable") from None
        self.architecture = found.architecture.name
        if not isinstance(found, ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
            raise UserError(f"{self.architecture} does not map RGB images to RGB images", path=path, code="mismatch")
        if found.scale != SCALE:
            message = f"{self.architecture} enlarges {found.scale} times, not {SCALE}; give weights of that scale"
            raise UserError(message, path=path, code="mismatch")
        self._model = found.eval()
        # Outside of spandrel's own clamp, which would turn an overflow into a picture.
        self._model.model.register_forward_hook(_check)
        self._half = {torch.float16: found.supports_half, torch.bfloat16: found.supports_bfloat16}

    def to(self, device: str, dtype: torch.dtype) -> None:
        """Move the network.

        Raises:
            UserError: it cannot compute in this precision.
        """
        if not self._half.get(dtype, True):
            message = f"{self.architecture} does not compute in {str(dtype).removeprefix('torch.')}; set float32"
            raise UserError(message, key="precision", code="conflict")
        self._model.to(device, dtype)

    @torch.no_grad()
    def restore_image(self, lr: Tensor, options: FeedForwardRestore) -> Tensor:
        """Restore an image, in tiles where a side is longer than `options.tile`. Nothing is padded around it.

        Args:
            lr: (1, 3, h, w) in [0, 1].
            options: restore settings.

        Returns:
            (1, 3, 4h, 4w) in [0, 1], on the CPU.

        Raises:
            UserError: a value is not finite, or far out of range: code "diverged".
        """
        tiles = Tiles.plan(lr.shape[-2], lr.shape[-1], options.tile, options.overlap)
        height, width = (SCALE * side for side in tiles.size)
        corners = tuple((SCALE * top, SCALE * left) for top, left in tiles.corners)
        enlarged = Tiles(SCALE * tiles.height, SCALE * tiles.width, (height, width), corners)

        def restored(at: tuple[Corner, ...]) -> Tensor:
            part = tiles.cut(lr, tuple((top // SCALE, left // SCALE) for top, left in at))
            return self._model(part.to(self._model.device, self._model.dtype))

        return enlarged.blend(restored, 1).clamp(0, 1).cpu()


def _check(module: nn.Module, inputs: Any, output: Tensor) -> None:
    finite(output, "the restored image")


def _state(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file by name, without what training keeps around them."""
    if path.suffix == ".safetensors":
        return canonicalize_state_dict(read_tensors(path))
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError("no such file", path=path, code="missing") from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        message = f"cannot be read as tensors alone ({one_line(error, 150)}); give a state dict or safetensors"
        raise UserError(message, path=path, code="unreadable") from None
    if not isinstance(loaded, dict):
        raise UserError("not a state dict: it holds no tensors by name", path=path, code="unreadable")
    return canonicalize_state_dict(loaded)
