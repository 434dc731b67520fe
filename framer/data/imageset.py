"""A data set on the disk: image folders, their index, and the card that says they are complete.

datasets/<id>/LR/*.png  HR/*.png     or  train/, test/
datasets/<id>/index.csv              name, width, height, sha256 of every image
datasets/<id>/card.json              written last
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framer.data.images import INDEX, Entry, list_images, read_index, write_index
from framer.data.manifest import Manifest
from framer.errors import UserError
from framer.provenance import CARD, read_card, verify_payload, write_card

KIND = "images"


@contextmanager
def staging(folder: Path, manifest: Manifest) -> Iterator[Path]:
    """A scratch folder with one subfolder a part, to be filled and sealed; moved into place when the block ends well.

    What `folder` held is replaced then; when the block fails, it is not touched. The card goes first and comes back
    last, so that a folder is never taken for complete in between.
    """
    scratch = folder / ".part"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        for part in manifest.folders:
            (scratch / part).mkdir(parents=True)
        yield scratch
        (folder / CARD).unlink(missing_ok=True)
        for part in manifest.folders:
            shutil.rmtree(folder / part, ignore_errors=True)
        for name in (*manifest.folders, INDEX, CARD):
            (scratch / name).replace(folder / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def seal(folder: Path, manifest: Manifest, progress: bool = False, **facts: Any) -> None:
    """Check a set's folders against its manifest, then write its index and card.

    Args:
        folder: `datasets/<id>`, or the scratch folder that will replace it.
        manifest: what the folders must hold.
        progress: show a bar.
        facts: more for the card, such as the card of the set it was made from.

    Raises:
        UserError: an image is missing, too many, unreadable or of the wrong size.
    """
    names = check(folder, manifest)
    entries = write_index(folder, names, progress)
    _check_sizes(manifest, entries)
    write_card(folder, KIND, [INDEX], set=manifest.id, source=_origin(manifest), **facts)


def check(folder: Path, manifest: Manifest) -> list[str]:
    """The names of a set's images, relative to `folder`, after counting and pairing them.

    Raises:
        UserError: a folder is missing or holds the wrong number of images, or an image has no partner.
    """
    parts = {part: list_images(folder / part) for part in manifest.folders}
    if manifest.paired and parts["LR"].keys() != parts["HR"].keys():
        alone = sorted(parts["LR"].keys() ^ parts["HR"].keys())
        names = ", ".join(alone[:5]) + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
        raise UserError(f"{manifest.id}: only in one of LR and HR: {names}; pairs have one file stem")
    for part, expected in _counts(manifest).items():
        found = len(parts[part])
        if found != expected:
            raise UserError(f"{manifest.id}/{part}: holds {found} images, where the manifest says {expected}")
    return [f"{part}/{path.name}" for part, images in parts.items() for path in images.values()]


def _counts(manifest: Manifest) -> dict[str, int]:
    """How many images each folder holds, where that is known."""
    if manifest.source.kind == "embedded":
        return {split: len(files) for split, files in manifest.source.splits.items()}
    return dict.fromkeys(manifest.folders, manifest.count) if manifest.count else {}


def _check_sizes(manifest: Manifest, entries: list[Entry]) -> None:
    if not manifest.paired:
        return
    sizes = {(Path(e.name).parent.name, Path(e.name).stem): (e.width, e.height) for e in entries}
    for (part, stem), (width, height) in sizes.items():
        lr = sizes["LR", stem]
        if part == "HR" and (width, height) != (lr[0] * manifest.scale, lr[1] * manifest.scale):
            raise UserError(
                f"{manifest.id}/HR: {stem} is {width} x {height}, but LR is {lr[0]} x {lr[1]}; "
                f"HR must be exactly {manifest.scale} times as large"
            )


def complete(folder: Path, manifest: Manifest) -> bool:
    """Whether a set is there, of this manifest, with every image of its index. Images are not hashed again."""
    try:
        card = read_card(folder, KIND)
        verify_payload(folder, card)
        listed = {entry.name for entry in read_index(folder)}
        return bool(card.get("source") == _origin(manifest) and listed == set(check(folder, manifest)))
    except UserError:
        return False


def _origin(manifest: Manifest) -> dict[str, Any]:
    """What of a source decides the bytes; advice to the reader does not."""
    return manifest.source.model_dump(mode="json", exclude={"where", "note"})
