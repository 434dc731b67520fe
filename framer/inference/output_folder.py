"""A folder of restored images, `STEM.png` for every LR image: held, filled by a model or by others, then sealed."""

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from framer.data.image_folder import KIND
from framer.data.images import INDEX, MAX_PIXELS, RGB, opened, read_hashed, read_index, write_index, write_png
from framer.errors import UserError, named
from framer.provenance import output
from framer.provenance.cards import CARD, lock, write_card
from framer.provenance.files import left_behind
from framer.provenance.hashing import sha256_file
from framer.provenance.journal import Journal, entries, journal_of

LONGEST = 255 - len("..12345678.png")
"""Bytes of an output's name, of which its temporary file has some more."""


class Filling:
    """A folder that is filled one image at a time, by as many calls as it takes, before it is sealed."""

    def __init__(self, out: Path, task: Any, sources: Mapping[str, Any]):
        """Empty the folder except for the images that an interrupted call of the same work restored.

        Args:
            out: the folder, held; see `filling`.
            task: JSON-able; everything that every image depends on, such as the checkpoint, the settings and the code.
            sources: JSON-able; by stem, what one image depends on besides, such as the hash of its LR image.
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
        self._journal.append(path.name, None)  # before the file, so that it is known whenever we are killed
        write_png(path, rgb)
        self._journal.append(path.name, [self.sources[stem], sha256_file(path)])
        self.done.add(stem)

    def seal(self, code: str, **facts: object) -> None:
        """Write index and card of the images of all sources: the folder is complete.

        Args:
            code: fingerprint of the code that filled it.
            facts: for the card.
        """
        write_index(self.out, [f"{stem}.png" for stem in self.sources])
        write_card(self.out, KIND, [INDEX], **facts, code=code, lock=lock())
        self._journal.remove()

    def _is_done(self, stem: str, entry: list[Any] | None) -> bool:
        path = self.out / f"{stem}.png"
        return path.is_file() and entry == [self.sources[stem], sha256_file(path)]


def check_output(out: Path, inputs: Iterable[Path | None]) -> None:
    """Check, before any work, that `out` is new, empty, or a folder of restored images.

    Raises:
        UserError: as `framer.provenance.output.claimed`.
    """
    inputs = tuple(inputs)
    output.keep_apart(out, inputs)  # before its index is read, which may be that of an input
    output.check(out, KIND, _listed(out), inputs)


@contextmanager
def filling(out: Path, task: Any, sources: Mapping[str, Any], inputs: Iterable[Path | None]) -> Iterator[Filling]:
    """Hold a folder against other writers for a block, and fill it; see `Filling`.

    Raises:
        UserError: as `framer.provenance.output.claimed`.
    """
    with output.claimed(out, KIND, known=_listed(out), inputs=inputs):
        yield Filling(out, task, sources)


def check_outputs(images: Mapping[str, Path], scale: int) -> None:
    """Check from the headers of images, by stem, that their outputs can be written, with sides `scale` times as long.

    Raises:
        UserError: an output has more than `MAX_PIXELS`, or too long a name.
    """
    for stem, path in images.items():
        if (length := len(f"{stem}.png".encode())) > LONGEST:
            message = f"{stem}.png has {length} bytes in UTF-8, more than {LONGEST}; rename the image"
            raise UserError(message, path=path.parent)
        with opened(path) as image:
            width, height = scale * image.width, scale * image.height
        if width * height > MAX_PIXELS:
            message = f"its output has {width}x{height} pixels, more than {MAX_PIXELS}; cut it into parts"
            raise UserError(message, path=path)


def check(images: Mapping[str, Path]) -> dict[str, str]:
    """Decode every image once, before anything is deleted or restored.

    Returns:
        The SHA-256 of each file, by stem.

    Raises:
        UserError: images that cannot be read; the first message is given, and up to five more files are named.
    """
    faults: list[UserError] = []
    hashes: dict[str, str] = {}
    for stem, path in images.items():
        try:
            hashes[stem] = read_hashed(path)[1]
        except UserError as error:
            faults.append(error)
    if faults:
        first, *others = faults
        rest = f" (and {len(others)} more: {named(Path(str(e.path)).name for e in others)})" if others else ""
        raise UserError(first.message + rest, path=first.path, code=first.code)
    return hashes


def _listed(folder: Path) -> set[str]:
    """The files that a folder's index and its journal list.

    Raises:
        UserError: the index is damaged, or lists files elsewhere.
    """
    # Snakemake deletes the card before a job runs again, but has no record of the images.
    names = {entry.name for entry in read_index(folder)} if (folder / INDEX).is_file() else set()
    names |= entries(folder / INDEX).keys()
    if elsewhere := sorted(name for name in names if not output.safe(name) or len(PurePosixPath(name).parts) > 1):
        message = f"lists {named(map(ascii, elsewhere))}, not the images of one folder; name another --out"
        raise UserError(message, path=folder / INDEX, code="refused")
    return names | {INDEX}


def clear(folder: Path, keep: Set[str] = frozenset()) -> None:
    """Delete what earlier calls wrote: an image without an LR image would count as an extra one.

    Args:
        folder: of restored images, finished or not, and held.
        keep: file names of images that stay, and their journal with them.

    Raises:
        UserError: the index is damaged, or lists files elsewhere.
    """
    listed = _listed(folder)
    (folder / CARD).unlink(missing_ok=True)
    output.remove(folder, listed - keep)
    for part in left_behind(folder / CARD):
        part.unlink(missing_ok=True)
    if not keep:
        journal_of(folder / INDEX).unlink(missing_ok=True)
