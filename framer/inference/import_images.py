"""Import the images that another method restored."""

import sys
from pathlib import Path

from tqdm import tqdm

from framer.data.degradation.presets import SCALE
from framer.data.image_folder import verify
from framer.data.images import list_images, read_rgb, write_png
from framer.errors import UserError
from framer.inference.output_folder import check, clear, seal
from framer.provenance.code import fingerprint
from framer.provenance.hashing import digest, sha256_file


def adopt(images: Path, lr: Path, out: Path, *, progress: bool = True) -> None:
    """Take over what another method restored: `out/STEM.png` for every LR image, then an index and a card.

    Args:
        images: folder of the restored images, named as the LR images.
        lr: folder of the LR images.
        out: folder of 8-bit RGB PNGs.
        progress: show a bar.

    Raises:
        UserError: an image is missing, one too many, cannot be read, or is not four times as large as its LR image.
    """
    verify(lr)
    inputs, found = list_images(lr), list_images(images)
    if lacking := sorted(inputs.keys() - found.keys()):
        raise UserError(f"{images}: no image for {', '.join(lacking[:5])} of {lr}; put {len(lacking)} more there")
    if extra := sorted(found.keys() - inputs.keys()):
        raise UserError(f"{images}: {', '.join(extra[:5])}: not in {lr}; remove {len(extra)}")
    check(found)
    hashes: dict[str, str] = {}
    clear(out)
    try:
        for stem in tqdm(inputs, f"import {images}", unit="image", file=sys.stderr, disable=not progress):
            rgb, low = read_rgb(found[stem]), read_rgb(inputs[stem])
            height, width = (SCALE * side for side in low.shape[:2])
            if rgb.shape[:2] != (height, width):
                size = f"{rgb.shape[1]}x{rgb.shape[0]}"
                raise UserError(f"{found[stem]}: {size} pixels, not {width}x{height}, four times its LR image")
            hashes[stem] = sha256_file(found[stem])
            write_png(out / f"{stem}.png", rgb)
    except BaseException:
        # Without an index or a journal, the next call would not know that they are ours.
        for stem in hashes:
            (out / f"{stem}.png").unlink(missing_ok=True)
        raise
    seal(out, inputs, fingerprint("import-images"), checkpoint="supplied", inputs=digest(hashes))
