"""Image files in and out: every input format as 8-bit RGB, PNG with fixed bytes, and the index of a folder."""

import csv
import hashlib
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from tqdm import tqdm

from framer.errors import UserError, named, one_line
from framer.provenance.cards import CARD
from framer.provenance.files import atomic, csv_text, write_text

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
"""What files of these suffixes may hold; Pillow's other readers are not tried on them."""
OTHER_SUFFIXES = (".jfif", ".jpe", ".gif", ".ppm", ".pgm", ".avif", ".heic", ".tga", ".jp2", ".jxl", ".dds", ".exr")
"""Images by name that are not read, so that a folder that holds some is not taken for complete."""
MAX_PIXELS = 2**30
"""Of one image, read or written. It replaces Pillow's limit, which outputs of x4 exceed from 11 megapixels on."""
Image.MAX_IMAGE_PIXELS = None
INDEX = "index.csv"
RGB = np.ndarray
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation: what makes an image upright."""


@dataclass(frozen=True)
class Entry:
    """One image of an index: name relative to the index (posix), size in pixels, sha256 of the file."""

    name: str
    width: int
    height: int
    sha256: str


def stem_of(name: str) -> str:
    """What pairs an image with others and with its caption: the file name without its suffix, in Unicode's NFC."""
    return unicodedata.normalize("NFC", Path(name).stem)


def list_images(folder: Path) -> dict[str, Path]:
    """The images of a folder (not of its subfolders) by file stem, sorted by stem. Hidden files do not count.

    Raises:
        UserError: there is no such folder, it holds no image, two images have one stem, or a name is not UTF-8 or has
            a control character.
    """
    if not folder.is_dir():
        raise UserError("no such folder", path=folder, code="missing")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if not path.name.isprintable():
            raise UserError(f"{path.name!a} is not printable UTF-8; rename the file", path=folder)
        if (stem := stem_of(path.name)) in images:
            message = f"{images[stem].name} and {path.name} have one stem; remove one of them"
            raise UserError(message, path=folder, code="conflict")
        images[stem] = path
    if not images:
        rest = f"; left out: {others}" if (others := left_out(folder)) else ""
        raise UserError(f"holds no image ({', '.join(s[1:] for s in SUFFIXES)}){rest}", path=folder, code="missing")
    return dict(sorted(images.items()))


def left_out(folder: Path) -> str | None:
    """What `list_images` leaves out of a folder that looks like more images, in words; None for nothing.

    Subfolders with a card are outputs, not images. Of an image with several frames or pages the first is read.
    """
    subfolders, others, broken, several = [], [], [], []
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not (path / CARD).is_file():
                subfolders.append(path.name)
        elif suffix in OTHER_SUFFIXES:
            others.append(path.name)
        elif suffix in SUFFIXES and not path.is_file():
            broken.append(path.name)
        elif suffix in (".png", ".webp", ".tif", ".tiff") and _frames(path) > 1:
            several.append(path.name)
    kinds = {
        "subfolders": subfolders,
        "files of other formats": others,
        "broken links or special files": broken,
        "images with several frames, of which the first is read": several,
    }
    parts = [f"{len(names)} {what} ({named(map(printable, names))})" for what, names in kinds.items() if names]
    return "; ".join(parts) or None


def printable(name: str) -> str:
    """A file name that fits on one line of any terminal."""
    return name if name.isprintable() else ascii(name)


def _frames(path: Path) -> int:
    try:
        with opened(path) as image:
            return int(getattr(image, "n_frames", 1))
    except UserError:  # whoever reads it will see
        return 1


def paired(first: Path, second: Path) -> list[tuple[str, Path, Path]]:
    """Pair the images of two folders by file stem, never by order.

    Returns:
        (stem, file of the first, file of the second), sorted by stem.

    Raises:
        UserError: an image has no partner, of which up to five are named; as `list_images`.
    """
    ones, others = list_images(first), list_images(second)
    for folder, other, alone in (
        (first, second, others.keys() - ones.keys()),
        (second, first, ones.keys() - others.keys()),
    ):
        if alone:
            message = f"no image for {named(sorted(alone))}, which {other} has; pairs are images of one file stem"
            raise UserError(message, path=folder, code="mismatch")
    return [(stem, path, others[stem]) for stem, path in ones.items()]


def read_rgb(path: Path) -> RGB:
    """Decode an image as its viewer would show it.

    EXIF orientation is applied, 16 bits are rounded to 8, gray is repeated in three channels, a palette is looked up,
    and transparent pixels are laid over white. A color profile is ignored, as all evaluations of the field do.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: the file is missing, is no image or is cut short.
    """
    return _decoded(path)


def read_hashed(path: Path) -> tuple[RGB, str]:
    """`read_rgb`, and the SHA-256 of the very bytes that were decoded: the file is read once."""
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    return _decoded(path, content), hashlib.sha256(content).hexdigest()


def _decoded(path: Path, content: bytes = b"") -> RGB:
    with opened(path, content) as file:
        wide = is_wide(file)  # first: reading the orientation of a PNG decodes it, which empties its tiles
        upright = _TURNS.get(orientation(file))
        image = _to_rgb(_narrowed(path, content) if wide else file)
        return np.array(image if upright is None else image.transpose(upright))


@contextmanager
def opened(path: Path, content: bytes = b"") -> Iterator[ImageFile.ImageFile]:
    """An image file whose pixels are read, if at all, within the block.

    Args:
        path: the file.
        content: its bytes, where they have been read.

    Raises:
        UserError: the file is missing, is no image, has more than `MAX_PIXELS`, or its pixels are damaged.
    """
    try:
        with Image.open(BytesIO(content) if content else path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS}")
            yield image
    except FileNotFoundError:
        raise UserError("no such file", path=path, code="missing") from None
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"not a {', '.join(FORMATS)} image", path=path, code="unreadable") from None
    except Exception as error:  # of damaged files, Pillow's readers raise whatever their code runs into
        raise UserError(f"not a readable image ({one_line(error)})", path=path, code="unreadable") from None


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or where the EXIF data is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as in `opened`; the pixels can be whole
        return 1
    return value if value in _TURNS else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion clips at 255
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError("its values are not 16-bit")
        # The range of 32-bit integers is not defined; 8-bit levels saved as integers are the usual case.
        levels = wide if image.mode == "I" and wide.max() <= 255 else _rounded(wide)
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; save it as 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def is_wide(image: ImageFile.ImageFile) -> bool:
    """Whether the file has color channels of 16 bits, which Pillow would cut to 8."""
    return not image.mode.startswith("I") and any(";16" in str(tile.args) for tile in image.tile)


def _rounded(wide: np.ndarray) -> np.ndarray:
    """16-bit levels to 8-bit ones, the nearest."""
    return (wide + 128) // 257


def _narrowed(path: Path, content: bytes) -> Image.Image:
    """An image of 16-bit color channels in 8 bits, rounded.

    Pillow takes the high bytes of such channels. With the other byte order it takes the low ones.
    """
    with opened(path, content) as image:
        if "LA;16B" in str(image.tile):  # four bytes a pixel, which can be read as they are
            image.tile = [tile._replace(args="RGBA") for tile in image.tile]
            raw = np.array(image).astype(np.int64)
            level, alpha = (_rounded(256 * raw[..., i] + raw[..., i + 1]) for i in (0, 2))
            return Image.fromarray(np.stack([level, level, level, alpha], axis=-1).astype(np.uint8))
        high = np.array(image).astype(np.int64)
    with opened(path, content) as image:
        image.tile = [tile._replace(args=_other_order(tile.args)) for tile in image.tile]
        return Image.fromarray(_rounded(256 * high + np.array(image)).astype(np.uint8))


def _other_order(args: Any) -> Any:
    """A tile's decoder arguments, the raw mode among them first or alone, with the other byte order."""
    raw, *rest = (args,) if isinstance(args, str) else args
    little = raw.endswith("L") or (raw.endswith("N") and sys.byteorder == "little")
    swapped = raw[:-1] + ("B" if little else "L")
    return swapped if isinstance(args, str) else (swapped, *rest)


def write_png(path: Path, array: RGB) -> None:
    """Write an 8-bit RGB PNG, atomically. Equal pixels give equal bytes.

    Args:
        path: ends in .png.
        array: (H, W, 3) uint8.
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"{path}: needs (H, W, 3) uint8, not {array.shape} {array.dtype}")
    with atomic(path) as part:
        Image.fromarray(array).save(part, format="PNG", compress_level=6)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height as `read_rgb` gives them, from the file's header alone.

    Raises:
        UserError: the file is no image.
    """
    with opened(path) as image:
        width, height = image.size
        turned = orientation(image) >= 5
    return (height, width) if turned else (width, height)


def inspect(folder: Path, name: str) -> Entry:
    """Decode an image to its last row and hash its file.

    Raises:
        UserError: it is not readable.
    """
    pixels, sha256 = read_hashed(folder / name)
    return Entry(name, pixels.shape[1], pixels.shape[0], sha256)


def write_index(folder: Path, names: Iterable[str], progress: bool = False) -> list[Entry]:
    """Write `folder/index.csv`: name, width, height and sha256 of each image, sorted by name.

    Args:
        folder: what the names are relative to.
        names: posix paths of images, such as `HR/coffee_0.png`. Each is decoded, several at a time.
        progress: show a bar.

    Raises:
        UserError: an image is not readable; no index is written.
    """
    ordered = sorted(names)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        entries = pool.map(lambda name: inspect(folder, name), ordered)
        listed = list(tqdm(entries, "index", len(ordered), unit="image", disable=not progress))
    write_text(folder / INDEX, csv_text((field.name for field in fields(Entry)), map(astuple, listed)))
    return listed


def read_index(folder: Path) -> list[Entry]:
    """Read `folder/index.csv`.

    Raises:
        UserError: it is missing or is no index.
    """
    path = folder / INDEX
    try:
        rows = list(csv.DictReader(StringIO(path.read_text(encoding="utf-8"))))
        return [Entry(row["name"], int(row["width"]), int(row["height"]), row["sha256"]) for row in rows]
    except FileNotFoundError:
        raise UserError("missing; the folder is incomplete", path=path, code="missing") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise UserError("not an index of images; move it away", path=path, code="unreadable") from None
