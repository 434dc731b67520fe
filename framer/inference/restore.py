"""Restore a folder of LR images to exactly four times their size."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from framer.backbones.base import Backbone
from framer.backbones.image_ops import upsample
from framer.backbones.random import Draws, generator
from framer.backbones.registry import settings_of
from framer.backbones.settings import FreeU, RestoreSettings
from framer.data.captions import Missing, image_prompts
from framer.data.degradation.presets import SCALE
from framer.data.image_folder import listing
from framer.data.images import list_images, read_hashed
from framer.data.pairs import to_rgb, to_tensor
from framer.errors import UserError
from framer.inference.output_folder import check, check_output, check_outputs, filling
from framer.provenance.cards import lock, versions
from framer.provenance.code import fingerprint
from framer.provenance.hashing import digest, sha256_file
from framer.runs.run_dir import PACKAGES, code_of, load_run
from framer.runs.runtime import DTYPES, deterministic, device_for


@torch.no_grad()
def restore(
    checkpoint: Path | Literal["bicubic"],
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
        checkpoint: folder of a run, or "bicubic" for interpolation.
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
    sources = (lr, None if checkpoint == "bicubic" else Path(checkpoint), captions)
    check_output(out, sources)
    images = list_images(lr)
    listed = listing(lr)
    check_outputs(images, SCALE)
    deterministic(threads)
    model: Backbone | None = None
    options: RestoreSettings | None = None
    device = "cpu"
    facts: dict[str, Any] = {"checkpoint": "bicubic"}
    code = fingerprint("restore")
    if checkpoint == "bicubic" and (settings or captions or blank_lr or freeu):
        message = "bicubic has no settings, captions, LR latent or U-Net; leave these options out"
        raise UserError(message, key="--checkpoint", code="conflict")
    if checkpoint != "bicubic":
        model, card = load_run(Path(checkpoint))
        code = code_of("restore", model.name)
        options = settings_of(model.name, {"restore": dict(settings)}).restore
        device = device_for(model)
        if options.precision == "fp16" and device == "cpu":
            raise UserError("fp16 needs a GPU; set bf16 or float32", key="precision", code="conflict")
        model.to(device, DTYPES[options.precision])
        facts = {"checkpoint": digest(card), "settings": options.model_dump(mode="json")}
        facts |= {"blank_lr": blank_lr, "seed": seed, "threads": torch.get_num_threads()}
        if freeu:
            model.enable_freeu(freeu)
            facts["freeu"] = freeu.model_dump()
        model.prompts = image_prompts(captions, lr, missing)
    prompts = model.prompts if model else {}

    def sr(stem: str, image: Tensor) -> Tensor:
        if model is None:
            return upsample(image)
        draws = Draws((generator(seed, stem),), generator(seed))
        try:
            return model.restore_image(image, draws, options, prompt=prompts.get(stem, ""), blank_lr=blank_lr)
        except UserError as error:
            if error.code != "diverged":
                raise
            given = ", ".join(f"{key}={value}" for key, value in settings.items()) or "the defaults"
            message = f"{error}; check the weights of {checkpoint} and the restore settings ({given})"
            raise UserError(message, code="diverged") from None

    # What an index lists was decoded when it was written: such a file is read once, in its turn.
    entries = listed.entries
    inputs = {stem: entries[path].sha256 for stem, path in images.items()} if entries else check(images)
    used = versions(PACKAGES)
    task = facts | {"code": code, "lock": lock(), "versions": used, "device": device}
    parts = {stem: [inputs[stem], prompts.get(stem, "")] for stem in images}
    facts |= {"captions": digest(prompts)} if captions and model else {}
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
        folder.seal(code, **facts, inputs=digest(inputs), versions=used)
