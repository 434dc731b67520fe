"""A folder of restored images, `STEM.png` for every LR image: emptied, filled by a model or by others, then sealed."""

import sys
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from framer import provenance
from framer.data.images import INDEX, list_images, read_index, read_rgb, write_index, write_png
from framer.data.imageset import verify
from framer.errors import UserError
from framer.fingerprint import fingerprint

SCALE = 4


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
    hashes = {}
    clear(out)
    try:
        for stem in tqdm(inputs, f"import {images}", unit="image", file=sys.stderr, disable=not progress):
            rgb, low = read_rgb(found[stem]), read_rgb(inputs[stem])
            height, width = (SCALE * side for side in low.shape[:2])
            if rgb.shape[:2] != (height, width):
                size = f"{rgb.shape[1]}x{rgb.shape[0]}"
                raise UserError(f"{found[stem]}: {size} pixels, not {width}x{height}, four times its LR image")
            hashes[stem] = provenance.sha256_file(found[stem])
            write_png(out / f"{stem}.png", rgb)
    except BaseException:
        discard(out, hashes)
        raise
    seal(out, inputs, fingerprint("import-images"), checkpoint="supplied", inputs=provenance.digest(hashes))


def seal(out: Path, stems: Mapping[str, Path], code: str, **facts: object) -> None:
    """Write index and card: the folder is complete. `code` is the fingerprint of what filled it."""
    write_index(out, [f"{stem}.png" for stem in stems])
    provenance.write_card(out, "images", ["index.csv"], **facts, code=code, lock=provenance.lock())


def discard(out: Path, stems: Mapping[str, str]) -> None:
    """Delete what was written of a folder that is not finished.

    Without a card the images are of no use, and without an index the next call would not know that they are ours.
    """
    for stem in stems:
        (out / f"{stem}.png").unlink(missing_ok=True)


def check(images: Mapping[str, Path]) -> None:
    """Decode every image once, before anything is deleted or restored.

    Raises:
        UserError: images that cannot be read; the first says why, and up to five more are named.
    """
    faults = []
    for path in images.values():
        try:
            read_rgb(path)
        except UserError as error:
            faults.append((path.name, str(error)))
    if faults:
        others = ", ".join(name for name, _ in faults[1:6])
        raise UserError(faults[0][1] + (f" (and {len(faults) - 1} more: {others})" if others else ""))


def clear(folder: Path) -> None:
    """Delete what an earlier call wrote: an image that is in the LR folder no more would count as an extra one."""
    (folder / provenance.CARD).unlink(missing_ok=True)
    # Snakemake deletes the card before a job runs again, but knows nothing of the images.
    if (folder / INDEX).is_file():
        for entry in read_index(folder):
            (folder / entry.name).unlink(missing_ok=True)
        (folder / INDEX).unlink()
