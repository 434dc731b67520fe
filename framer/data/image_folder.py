"""A data set on the disk: image folders, their index, and the card that marks them as complete.

datasets/<id>/LR/*.png  HR/*.png     or  train/, test/
datasets/<id>/index.csv              name, width, height, sha256 of every image
datasets/<id>/card.json              written last
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framer.data.images import (
    INDEX,
    SUFFIXES,
    Entry,
    image_size,
    left_out,
    list_images,
    read_index,
    stem_of,
    write_index,
)
from framer.errors import UserError, named
from framer.provenance.cards import CARD, read_card, verify_payload, write_card
from framer.provenance.hashing import sha256_file
from framer.provenance.journal import journal_of
from framer.provenance.output import refuse_others

if TYPE_CHECKING:
    from framer.data.manifest import Manifest, Source

KIND = "images"
HASHED = 500
"""Folders of up to this many images are hashed before use; of larger ones the sizes in pixels are compared."""


@contextmanager
def staging(folder: Path, manifest: "Manifest") -> Iterator[Path]:
    """A scratch folder with one subfolder per part, to be filled and sealed; moved into place when the block succeeds.

    The images that the index of `folder` lists are replaced then; when the block fails, they are not touched. The card
    goes first and comes back last, so that a folder is never taken for complete in between.

    Raises:
        UserError: a part holds files that the index does not list; code "refused".
    """
    scratch = folder / ".part"
    # A call that was killed while it moved the folders left the index of the new ones in the scratch folder.
    indices = [at for at in (folder, scratch) if (at / INDEX).is_file()]
    listed = {entry.name for at in indices for entry in read_index(at)}
    for part in manifest.folders:
        if not (folder / part).is_symlink():
            refuse_others(folder / part, {name.removeprefix(f"{part}/") for name in listed})
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        for part in manifest.folders:
            (scratch / part).mkdir(parents=True)
        yield scratch
        (folder / CARD).unlink(missing_ok=True)
        for name in (*manifest.folders, INDEX, CARD):
            old = folder / name
            if old.is_symlink():
                old.unlink()  # its target is the user's
            elif old.is_dir():
                old.replace(scratch / f"old-{name}")
            (scratch / name).replace(old)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def seal(
    folder: Path,
    manifest: "Manifest",
    source: "Source",
    progress: bool = False,
    hashed: bool = False,
    **facts: Any,
) -> None:
    """Check a set's folders against its manifest, then write its index and card.

    Args:
        folder: `datasets/<id>`, or the scratch folder that will replace it.
        manifest: what the folders must hold.
        source: where the images come from.
        progress: show a bar.
        hashed: every image must have the sha256 that the manifest lists, where it lists one.
        facts: more for the card, such as the card of the set it was made from.

    Raises:
        UserError: an image is missing, extra, unreadable or not the one that the manifest lists.
    """
    names = check(folder, manifest)
    entries = write_index(folder, names, progress)
    try:
        _check_sizes(manifest, folder, entries)
        if hashed:
            _check_hashes(manifest, folder, entries)
    except UserError:
        (folder / INDEX).unlink()
        raise
    write_card(folder, KIND, [INDEX], set=manifest.id, source=source.origin, **facts)


def check(folder: Path, manifest: "Manifest") -> list[str]:
    """The names of a set's images, relative to `folder`, after counting and pairing them.

    Raises:
        UserError: a folder is missing or holds the wrong number of images, or an image has no partner.
    """
    parts = {part: list_images(folder / part) for part in manifest.folders}
    if manifest.paired and parts["LR"].keys() != parts["HR"].keys():
        alone = parts["LR"].keys() ^ parts["HR"].keys()
        message = f"only in one of LR and HR: {named(sorted(alone))}; pairs have one file stem"
        raise UserError(message, path=folder, code="mismatch")
    for part, expected in _counts(manifest).items():
        found = len(parts[part])
        if found != expected:
            rest = f"; left out: {others}" if (others := left_out(folder / part)) else ""
            message = f"holds {found} images, where the manifest has {expected}{rest}"
            raise UserError(message, path=folder / part, code="mismatch")
    for part, images in manifest.images.items():
        if missing := {stem_of(name) if _suffixed(name) else name for name in images} - parts[part].keys():
            message = f"no {named(sorted(missing))}, which the manifest lists"
            raise UserError(message, path=folder / part, code="missing")
    return [f"{part}/{path.name}" for part, images in parts.items() for path in images.values()]


def _suffixed(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _check_hashes(manifest: "Manifest", folder: Path, entries: list[Entry]) -> None:
    listed = {f"{part}/{name}": sha256 for part, images in manifest.images.items() for name, sha256 in images.items()}
    if wrong := {e.name for e in entries if listed.get(e.name) not in (e.sha256, None)}:
        message = f"{named(sorted(wrong))}: not the sha256 that the manifest lists; use the original files"
        raise UserError(message, path=folder, code="mismatch")


def _counts(manifest: "Manifest") -> dict[str, int]:
    """How many images each folder holds, where that is known."""
    source = manifest.sources[0]
    if source.kind in ("embedded", "packages"):
        return {split: len(files) for split, files in source.splits.items()}
    return dict.fromkeys(manifest.folders, manifest.count) if manifest.count else {}


def _check_sizes(manifest: "Manifest", folder: Path, entries: list[Entry]) -> None:
    if not manifest.paired:
        return
    sizes = {(Path(e.name).parent.name, stem_of(e.name)): (e.width, e.height) for e in entries}
    for (part, stem), (width, height) in sizes.items():
        lr = sizes["LR", stem]
        if part == "HR" and (width, height) != (lr[0] * manifest.scale, lr[1] * manifest.scale):
            message = f"{stem} is {width}x{height}, LR is {lr[0]}x{lr[1]}; HR must be exactly {manifest.scale} times LR"
            raise UserError(message, path=folder / "HR", code="mismatch")


def complete(folder: Path, manifest: "Manifest") -> bool:
    """Whether a set exists, of this manifest, with every image of its index. Images are not hashed again."""
    try:
        card = read_card(folder, KIND)
        verify_payload(folder, card)
        listed = {entry.name for entry in read_index(folder)}
        known = [source.origin for source in manifest.sources]
        return bool(card.get("source") in known and listed == set(check(folder, manifest)))
    except UserError:
        return False


def carded(folder: Path) -> Path | None:
    """The folder whose card describes a folder of images: the set that it is a part of, else itself; None without.

    A card in a part of a set is not the set's, and does not count.
    """
    for top in (folder.parent, folder):
        if not (top / CARD).is_file():
            continue
        try:
            if top == folder or "set" in read_card(top, KIND):
                return top
        except UserError:
            continue  # next to other outputs
    return None


@dataclass(frozen=True)
class Listing:
    """What the index of an image folder lists; without entries where no card vouches for the folder."""

    folder: Path
    """Where card and index are: the folder, or the set that it is a part of."""
    entries: dict[Path, Entry]

    def require(self, path: Path, sha256: str) -> None:
        """Refuse an image that is not the listed one.

        Raises:
            UserError: its hash is not the one in the index.
        """
        if self.entries and self.entries[path].sha256 != sha256:
            raise self.changed(path)

    def changed(self, path: Path) -> UserError:
        """The error of an image that is not the listed one."""
        return UserError(
            f"not the file that {self.folder / INDEX} lists; delete {self.folder / CARD} and make it again",
            path=path,
            code="mismatch",
        )


def listing(folder: Path) -> Listing:
    """Compare the names of a folder's images with the index of its set, or its own, and print what is left out.

    Raises:
        UserError: an image is missing or not listed, the index is not the card's, or the folder is unfinished.
    """
    if folder.is_dir() and (others := left_out(folder)):
        print(f"framer: {folder}: left out: {others}", file=sys.stderr)
    top = carded(folder)
    if top is None:
        if journal_of(folder / INDEX).is_file():
            message = "not all of its images are there yet; repeat the framer restore that was interrupted"
            raise UserError(message, path=folder, code="missing")
        return Listing(folder, {})
    prefix = "" if top == folder else f"{folder.name}/"
    verify_payload(top, read_card(top, KIND))
    listed = {entry.name.removeprefix(prefix): entry for entry in read_index(top) if entry.name.startswith(prefix)}
    if prefix and not listed:
        return Listing(top, {})  # a folder that is not of the set
    parts = {Path(name).parent for name in listed}
    found = {(part / path.name).as_posix(): path for part in parts for path in list_images(folder / part).values()}
    if found.keys() != listed.keys():
        raise UserError(
            f"{named(sorted(found.keys() ^ listed.keys()))}: not as {top / INDEX} lists them; "
            f"delete {top / CARD} and make it again",
            path=folder,
            code="mismatch",
        )
    return Listing(top, {path: listed[name] for name, path in found.items()})


def verify(folder: Path) -> None:
    """Check a folder of images against its index: see `listing`; for those who do not read all of its images.

    The SHA-256 of each file in folders of up to `HASHED` images, the sizes in pixels in larger ones.

    Raises:
        UserError: as `listing`, or an image was changed.
    """
    found = listing(folder)
    for path, entry in found.entries.items():
        if len(found.entries) <= HASHED:
            found.require(path, sha256_file(path))
        elif image_size(path) != (entry.width, entry.height):
            raise found.changed(path)
