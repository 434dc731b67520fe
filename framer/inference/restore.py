"""Restore a folder of LR images to exactly four times their size."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from framer.backbones.settings import FreeU
from framer.data.captions import Missing
from framer.data.degradation.presets import SCALE
from framer.data.image_folder import listing
from framer.data.images import list_images, read_hashed
from framer.data.pairs import to_rgb, to_tensor
from framer.errors import UserError
from framer.inference.models import Checkpoint, ModelFile, Request, opened
from framer.inference.output_folder import check, check_output, check_outputs, filling
from framer.provenance.cards import lock, versions
from framer.provenance.hashing import digest, sha256_file
from framer.runs.runtime import deterministic


@torch.no_grad()
def restore(
    checkpoint: Checkpoint,
    lr: Path,
    out: Path,
    *,
    settings: Mapping[str, Any] = MappingProxyType({}),
    blank_lr: bool = False,
    freeu: FreeU | None = None,
    captions: Path | None = None,
    missing: Missing = "error",
    seed: int = 0,
    threads: int = 1,
    progress: bool = True,
) -> None:
    """Write `out/STEM.png` for every image of a folder, then an index and a card.

    An image's starting noise is a function of the seed and its file stem: it depends on no other image. A call that is
    killed or fails leaves its finished images and a hidden journal. The same call resumes with the images that are
    missing or were changed since, and ends with the same bytes; images of another call are deleted first.

    Args:
        checkpoint: folder of a run, a file of weights, or "bicubic" for interpolation.
        lr: folder of LR images.
        out: folder of 8-bit RGB PNGs.
        settings: over the defaults of the backbone's `restore` settings.
        blank_lr: control experiment: the network sees a zero LR latent.
        freeu: change the U-Net by FreeU with these factors.
        captions: a file or folder for `read_captions`; empty prompts without.
        missing: how to treat an image without a caption.
        seed: for the starting noise.
        threads: CPU threads.
        progress: show a bar.

    Raises:
        UserError: the checkpoint or an image cannot be read, the model cannot restore an image, an image changes
            meanwhile, or `out` is an input or holds files of others.
    """
    file = checkpoint.path if isinstance(checkpoint, ModelFile) else checkpoint
    sources = (lr, file if isinstance(file, Path) else None, captions)
    check_output(out, sources)
    images = list_images(lr)
    listed = listing(lr)
    check_outputs(images, SCALE)
    deterministic(threads)
    model = opened(checkpoint, Request(lr, settings, blank_lr, captions, missing, seed, freeu))

    def sr(stem: str, image: Tensor) -> Tensor:
        try:
            return model.restore(stem, image)
        except UserError as error:
            if error.code != "diverged":
                raise
            given = ", ".join(f"{key}={value}" for key, value in settings.items()) or "the defaults"
            message = f"{error}; check the weights of {file} and the restore settings ({given})"
            raise UserError(message, code="diverged") from None

    # What an index lists was decoded when it was written: such a file is read once, in its turn.
    entries = listed.entries
    inputs = {stem: entries[path].sha256 for stem, path in images.items()} if entries else check(images)
    used = versions(model.packages)
    task = model.facts | {"code": model.code, "lock": lock(), "versions": used, "device": model.device}
    parts = {stem: [inputs[stem], model.prompts.get(stem, "")] for stem in images}
    facts = model.facts | ({"captions": digest(model.prompts)} if captions else {})
    with filling(out, task, parts, sources) as folder:
        for stem, path in tqdm(images.items(), f"restore {lr}", unit="image", file=sys.stderr, disable=not progress):
            if stem in folder.done:
                if entries:
                    listed.require(path, sha256_file(path))
                continue
            pixels, sha256 = read_hashed(path)
            listed.require(path, sha256)
            if sha256 != inputs[stem]:
                raise UserError("changed while the folder was restored; run again", path=path, code="changed")
            image = to_tensor(pixels).unsqueeze(0)
            try:
                folder.write(stem, to_rgb(sr(stem, image)[0]))
            except UserError as error:
                raise UserError(str(error), path=path, code=error.code) from None
        folder.seal(model.code, **facts, inputs=digest(inputs), versions=used)
