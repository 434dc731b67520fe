"""What restores an image: interpolation, a run of a backbone, or a network from a file of weights."""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from framer.backbones.image_ops import upsample
from framer.backbones.random import Draws, generator
from framer.backbones.registry import settings_class, settings_of
from framer.backbones.settings import FreeU, RestoreSettings
from framer.data.captions import Missing, image_prompts
from framer.errors import UserError
from framer.provenance.code import fingerprint
from framer.provenance.hashing import digest, sha256_file
from framer.runs.run_dir import PACKAGES, code_of, load_run
from framer.runs.runtime import DTYPES, device_for
from framer.weights.lock_file import lock_file


@dataclass(frozen=True)
class ModelFile:
    """A file of weights of a network that restores in one pass, as `framer.backbones.feed_forward` reads it."""

    path: Path


Checkpoint = Path | ModelFile | Literal["bicubic"]
"""Folder of a run, a file of weights, or interpolation."""


@dataclass(frozen=True)
class Model:
    """Something that restores images.

    Attributes:
        restore: maps a stem and its LR image, (1, 3, h, w) in [0, 1], to (1, 3, 4h, 4w) in [0, 1] on the CPU.
        facts: for the card: all on which an image depends.
        code: fingerprint of the code that restores.
        device: where it runs.
        packages: whose versions the card lists.
        prompts: text of the images, by stem.
    """

    restore: Callable[[str, Tensor], Tensor]
    facts: dict[str, Any]
    code: str
    device: str = "cpu"
    packages: tuple[str, ...] = PACKAGES
    prompts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """How images are to be restored; attributes as the arguments of `framer.inference.restore.restore`."""

    lr: Path
    settings: Mapping[str, Any]
    blank_lr: bool
    captions: Path | None
    missing: Missing
    seed: int
    freeu: FreeU | None = None


def opened(checkpoint: Checkpoint, request: Request) -> Model:
    """Load what a checkpoint names, onto a GPU where there is one.

    Raises:
        UserError: it cannot be read, or what is requested does not apply to it.
    """
    if isinstance(checkpoint, Path):
        return _run(checkpoint, request)
    kind = "bicubic" if checkpoint == "bicubic" else "a file of weights"
    settings = checkpoint == "bicubic" and request.settings
    if request.captions or request.blank_lr or request.freeu or settings:
        options = "settings, captions" if checkpoint == "bicubic" else "captions"
        message = f"{kind} has no {options}, LR latent or U-Net; leave these options out"
        key = "--checkpoint" if checkpoint == "bicubic" else "--model"
        raise UserError(message, key=key, code="conflict")
    if checkpoint == "bicubic":
        return Model(lambda _, image: upsample(image), {"checkpoint": "bicubic"}, fingerprint("restore"))
    return _file(checkpoint.path, request)


def _run(folder: Path, request: Request) -> Model:
    backbone, card = load_run(folder)
    options = settings_of(backbone.name, {"restore": dict(request.settings)}).restore
    device = device_for(backbone)
    backbone.to(device, _dtype(options, device))
    if request.freeu:
        backbone.enable_freeu(request.freeu)
    backbone.prompts = prompts = image_prompts(request.captions, request.lr, request.missing)

    def restore(stem: str, image: Tensor) -> Tensor:
        draws = Draws((generator(request.seed, stem),), generator(request.seed))
        prompt = prompts.get(stem, "")
        return backbone.restore_image(image, draws, options, prompt=prompt, blank_lr=request.blank_lr)

    facts: dict[str, Any] = {"checkpoint": digest(card), "settings": options.model_dump(mode="json")}
    facts |= {"blank_lr": request.blank_lr, "seed": request.seed, "threads": torch.get_num_threads()}
    if request.freeu:
        facts["freeu"] = request.freeu.model_dump()
    return Model(restore, facts, code_of("restore", backbone.name), device, prompts=prompts)


def _file(path: Path, request: Request) -> Model:
    options = settings_of("spandrel", {"restore": dict(request.settings)}).restore
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = pkgutil.resolve_name(settings_class("spandrel").backbone)(path)
    network.to(device, _dtype(options, device))
    facts: dict[str, Any] = {"checkpoint": sha256_file(path), "architecture": network.architecture}
    if lock_file(path).is_file():
        facts["hash"] = "not published"
    facts |= {"settings": options.model_dump(mode="json"), "threads": torch.get_num_threads()}
    code = code_of("restore", "spandrel")
    return Model(lambda _, image: network.restore_image(image, options), facts, code, device, (*PACKAGES, "spandrel"))


def _dtype(options: RestoreSettings, device: str) -> torch.dtype:
    if options.precision == "fp16" and device == "cpu":
        raise UserError("fp16 needs a GPU; set bf16 or float32", key="precision", code="conflict")
    return DTYPES[options.precision]
