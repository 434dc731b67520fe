"""Image files in and out: every input format as 8-bit RGB, PNG with fixed bytes, and the index of a folder."""

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from framer.errors import UserError, named, one_line
from framer.provenance.files import atomic, csv_text, write_text

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
INDEX = "index.csv"
RGB = np.ndarray


@dataclass(frozen=True)
class Entry:
    """One image of an index: name relative to the index (posix), size in pixels, sha256 of the file."""

    name: str
    width: int
    height: int
    sha256: str


def list_images(folder: Path) -> dict[str, Path]:
    """The images of a folder (not of its subfolders) by file stem, sorted by stem. Hidden files do not count.

    Raises:
        UserError: there is no such folder, it holds no image, or two images have one stem.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in images:
            raise UserError(f"{folder}: {images[path.stem].name} and {path.name} have one stem; remove one of them")
        images[path.stem] = path
    if not images:
        raise UserError(f"{folder}: holds no image ({', '.join(s[1:] for s in SUFFIXES)})")
    return dict(sorted(images.items()))


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
            raise UserError(
                f"{folder}: no image for {named(sorted(alone))}, which {other} has; pairs are images of one file stem"
            )
    return [(stem, path, others[stem]) for stem, path in ones.items()]


def read_rgb(path: Path) -> RGB:
    """Decode an image as its viewer would show it.

    EXIF orientation is applied, 16 bits are reduced to 8, grey is repeated in three channels, a palette is looked up,
    and what is transparent is laid over white. A colour profile is ignored, as all evaluations of the field do.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: the file is missing, is no image or is cut short.
    """
    with opened(path) as file:
        return np.array(_to_rgb(ImageOps.exif_transpose(file)))


def read_hashed(path: Path) -> tuple[RGB, str]:
    """`read_rgb`, and the SHA-256 of the very bytes that were decoded: the file is read once."""
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    with opened(path, content) as file:
        return np.array(_to_rgb(ImageOps.exif_transpose(file))), hashlib.sha256(content).hexdigest()


@contextmanager
def opened(path: Path, content: bytes = b"") -> Iterator[ImageFile.ImageFile]:
    """An image file whose pixels are read, if at all, within the block.

    Args:
        path: the file.
        content: its bytes, where they have been read.

    Raises:
        UserError: the file is missing, is no image, or what is read of it is damaged.
    """
    try:
        with Image.open(BytesIO(content) if content else path) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: not a readable image ({one_line(error)})") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's 16-bit grey; its own conversion clips at 255
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError("its values are not 16-bit")
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; save it as 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


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
        turned = image.getexif().get(0x0112, 1) >= 5
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
        raise UserError(f"{path}: not there; {folder} is incomplete") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not an index of images; delete {folder} and make it again") from None
