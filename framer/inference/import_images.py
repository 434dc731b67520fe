"""Import the images that another method restored."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from framer.data.degradation.presets import SCALE
from framer.data.image_folder import verify
from framer.data.images import image_size, list_images, opened, read_rgb
from framer.errors import UserError, named
from framer.inference.output_folder import check, check_output, check_outputs, filling
from framer.provenance.cards import lock
from framer.provenance.code import fingerprint
from framer.provenance.hashing import digest


def adopt(
    images: Path,
    lr: Path,
    out: Path,
    *,
    source: str | None = None,
    method: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> None:
    """Import what another method restored: `out/STEM.png` for every LR image, then an index and a card.

    Args:
        images: folder of the restored images, named as the LR images.
        lr: folder of the LR images.
        out: folder of 8-bit RGB PNGs.
        source: where they are from, for the card.
        method: how another method's code made them, for the card; None of images that a user supplies.
        progress: show a bar.

    Raises:
        UserError: an image is missing, extra, a JPEG, cannot be read, or is not four times as large as its LR image;
            `out` holds files of others, or another process writes it. Nothing is changed then.
    """
    check_output(out, (images, lr))
    verify(lr)
    inputs, found = list_images(lr), list_images(images)
    if missing := sorted(inputs.keys() - found.keys()):
        message = f"no image for {named(missing)} of {lr}; add {len(missing)}"
        raise UserError(message, path=images, code="missing")
    if extra := sorted(found.keys() - inputs.keys()):
        raise UserError(f"{named(extra)}: not in {lr}; remove {len(extra)}", path=images, code="mismatch")
    check_outputs(inputs, SCALE)
    hashes = check(found)
    for stem, path in inputs.items():
        (width, height), expected = image_size(found[stem]), tuple(SCALE * side for side in image_size(path))
        if (width, height) != expected:
            message = f"{width}x{height} pixels, not {expected[0]}x{expected[1]}, four times its LR image"
            raise UserError(message, path=found[stem], code="mismatch")
        if _is_jpeg(found[stem]):
            message = "is a JPEG, whose losses would be scored as the method's; supply what it was made of, as PNG"
            raise UserError(message, path=found[stem], code="refused")
    code = fingerprint("run-method" if method else "import-images")
    origin: dict[str, Any] = {"source": source} if source else {}
    if method:
        origin["method"] = dict(method)
    with filling(out, {"imported": code, "lock": lock(), **origin}, hashes, (images, lr)) as folder:
        for stem in tqdm(inputs, f"import {images}", unit="image", file=sys.stderr, disable=not progress):
            if stem not in folder.done:
                folder.write(stem, read_rgb(found[stem]))
        folder.seal(code, checkpoint="method" if method else "supplied", inputs=digest(hashes), **origin)


def _is_jpeg(path: Path) -> bool:
    with opened(path) as image:
        return image.format == "JPEG"  # whatever its suffix
