"""A folder of restored images, `STEM.png` for every LR image: emptied, filled by a model or by others, then sealed."""

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from framer.data.images import INDEX, RGB, read_hashed, read_index, write_index, write_png
from framer.errors import UserError
from framer.provenance.cards import CARD, lock, write_card
from framer.provenance.files import left_behind
from framer.provenance.hashing import sha256_file
from framer.provenance.journal import Journal, entries, journal_of


def seal(out: Path, stems: Iterable[str], code: str, **facts: object) -> None:
    """Write index and card: the folder is complete. `code` is the fingerprint of what filled it."""
    write_index(out, [f"{stem}.png" for stem in stems])
    write_card(out, "images", ["index.csv"], **facts, code=code, lock=lock())


class Filling:
    """A folder that is filled one image at a time, by as many calls as it takes, before it is sealed."""

    def __init__(self, out: Path, task: Any, sources: Mapping[str, Any]):
        """Empty the folder but for the images that an interrupted call made by the same work.

        Args:
            out: the folder.
            task: JSON-able; all that every image hangs on, such as the checkpoint, the settings and the code.
            sources: JSON-able; by stem, all that one image hangs on besides, such as the hash of its LR image.
        """
        self.out, self.sources = out, sources
        self._journal = Journal(out / INDEX, task)
        found = self._journal.read()
        self.done = {stem for stem in sources if self._is_done(stem, found.get(f"{stem}.png"))}
        """Stems of the images that are there."""
        clear(out, {f"{stem}.png" for stem in self.done})

    def write(self, stem: str, rgb: RGB) -> None:
        """Write an image, (H, W, 3) uint8; from now on it counts as done."""
        path = self.out / f"{stem}.png"
        self._journal.append(path.name, None)  # so that whoever empties the folder knows of it, whenever we are killed
        write_png(path, rgb)
        self._journal.append(path.name, [self.sources[stem], sha256_file(path)])
        self.done.add(stem)

    def seal(self, code: str, **facts: object) -> None:
        """Write index and card of the images of all sources: see `seal`."""
        seal(self.out, self.sources, code, **facts)
        self._journal.remove()

    def _is_done(self, stem: str, entry: list[Any] | None) -> bool:
        path = self.out / f"{stem}.png"
        return path.is_file() and entry == [self.sources[stem], sha256_file(path)]


def check(images: Mapping[str, Path]) -> dict[str, str]:
    """Decode every image once, before anything is deleted or restored.

    Returns:
        The SHA-256 of each file, by stem.

    Raises:
        UserError: images that cannot be read; the first says why, and up to five more are named.
    """
    faults, hashes = [], {}
    for stem, path in images.items():
        try:
            hashes[stem] = read_hashed(path)[1]
        except UserError as error:
            faults.append((path.name, str(error)))
    if faults:
        others = ", ".join(name for name, _ in faults[1:6])
        raise UserError(faults[0][1] + (f" (and {len(faults) - 1} more: {others})" if others else ""))
    return hashes


def clear(folder: Path, keep: Set[str] = frozenset()) -> None:
    """Delete what earlier calls wrote: an image that is in the LR folder no more would count as an extra one.

    Args:
        folder: of restored images, finished or not.
        keep: file names of images that stay, and their journal with them.

    Raises:
        UserError: the index is damaged.
    """
    (folder / CARD).unlink(missing_ok=True)
    # Snakemake deletes the card before a job runs again, but knows nothing of the images.
    indexed = {entry.name for entry in read_index(folder)} if (folder / INDEX).is_file() else set()
    begun = entries(folder / INDEX)
    for name in (indexed | begun.keys()) - keep:
        (folder / name).unlink(missing_ok=True)
    cut_short = [name for name, value in begun.items() if value is None]
    for name in (*cut_short, INDEX, CARD):
        for part in left_behind(folder / name):
            part.unlink(missing_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    if not keep:
        journal_of(folder / INDEX).unlink(missing_ok=True)
