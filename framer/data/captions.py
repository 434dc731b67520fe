"""Captions of images: one CSV `image,caption` per folder of images, by file stem, or one text file per image.

A caption belongs to the image of its stem, never to a place in a list.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

from framer.data.images import OTHER_SUFFIXES, SUFFIXES, list_images, stem_of
from framer.errors import UserError, named
from framer.provenance.files import csv_text, write_text

Missing = Literal["error", "empty"]

COLUMNS = ("image", "caption")

UNWANTED = (
    "focus",
    "focal",
    "prominent",
    "close-up",
    "black and white",
    "blur",
    "depth",
    "dense",
    "locate",
    "position",
)
"""DiT4SR drops every sentence with one of these words: it describes the camera or where things are."""


def read_captions(path: Path) -> dict[str, str]:
    """Captions by file stem.

    Args:
        path: a CSV with the columns `image` (a file name, or its stem) and `caption`; or a folder with one `STEM.txt`
            per image, the form in which DiT4SR's authors publish theirs.

    Raises:
        UserError: it is neither, or has two captions of one stem; names the line.
    """
    if path.is_dir():
        texts = {stem_of(file.name): _one_line(_text(file)) for file in sorted(path.glob("*.txt"))}
        if not texts:
            message = "holds no .txt file; name a CSV of captions or a folder with one STEM.txt per image"
            raise UserError(message, path=path, code="missing")
        return texts
    reader = csv.DictReader(StringIO(_text(path)), strict=True)
    captions: dict[str, str] = {}
    try:
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"the first line must be '{','.join(COLUMNS)}'", path=path)
        for row in reader:
            line = f"line {reader.line_num}"
            if row.keys() != set(COLUMNS) or row["caption"] is None:
                raise UserError("not two columns; quote a caption that has a comma", path=path, key=line)
            stem = _stem(row["image"])
            if stem in captions:
                raise UserError(f"a second caption of {stem!r}; keep one", path=path, key=line, code="conflict")
            captions[stem] = row["caption"]
    except csv.Error as error:
        message = f"not valid CSV ({error})"
        raise UserError(message, path=path, key=f"line {reader.line_num}", code="unreadable") from None
    return captions


def _stem(image: str) -> str:
    """The stem of a file name, or of a stem, whose dots are its own: `shot.1.png` and `shot.1` are one image."""
    return stem_of(image) if Path(image).suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES) else stem_of(f"{image}.png")


def captions_file(folder: Path, name: str) -> Path:
    """The captions of a set: the folder `SET/` with a text file per image where there is one, else `SET.csv`."""
    texts = folder / name
    return texts if texts.is_dir() else folder / f"{name}.csv"


def write_captions(path: Path, captions: Mapping[str, str]) -> None:
    """Write a CSV that `read_captions` reads, sorted by stem."""
    write_text(path, csv_text(COLUMNS, ((stem, _one_line(captions[stem])) for stem in sorted(captions))))


def captions_of(stems: Iterable[str], captions: Mapping[str, str], missing: Missing, source: str) -> dict[str, str]:
    """The caption of every stem; '' where there is none and `missing` is "empty".

    Args:
        stems: of the images.
        captions: of those that have one; others' captions do not matter.
        missing: what to do about an image without one.
        source: names the captions in errors.

    Raises:
        UserError: images have no caption and `missing` is "error"; up to five are named.
    """
    wanted = list(stems)
    without = [stem for stem in wanted if stem not in captions]
    if without and missing == "error":
        message = f"no caption of {named(without)}; add them, or set missing: empty"
        raise UserError(message, path=source, code="missing")
    return {stem: captions.get(stem, "") for stem in wanted}


def about_objects(caption: str) -> str:
    """Drop the sentences of a caption that hold one of `UNWANTED`, in any case.

    A sentence ends with each single `.`, `?` or `!`, also within a number or an ellipsis, and the kept ones are joined
    as they were split, with nothing in between: this is the filter of DiT4SR's released code.
    """
    sentences = re.findall(r"[^.?!]*[.?!]|[^.?!]+$", caption)
    return "".join(one for one in sentences if not any(word in one.lower() for word in UNWANTED)).strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError("no such file; make it with: framer caption", path=path, code="missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"not a readable UTF-8 text ({error})", path=path, code="unreadable") from None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def photograph_name(path: Path) -> str:
    """SET/STEM of a file in a folder of a set: stems repeat between sets."""
    return f"{path.parent.parent.name}/{stem_of(path.name)}"


@dataclass(frozen=True)
class Captions:
    """Where prompts come from.

    Attributes:
        folder: holds SET.csv or SET/ for every set.
        missing: what to do about an image without one.
    """

    folder: str
    missing: Literal["error", "empty"]


def training_prompts(captions: Captions | None, data: Sequence[Path]) -> dict[str, str]:
    """The caption of every training photograph, by SET/STEM.

    Args:
        captions: where they come from; None for none at all.
        data: folders of HR photographs, each of its set (`SET/HR`).

    Raises:
        UserError: a file is missing or damaged, or an image has no caption where all must have one.
    """
    prompts: dict[str, str] = {}
    for folder in data if captions else ():
        assert captions is not None
        source = captions_file(Path(captions.folder), folder.parent.name)
        of_set = image_prompts(source, folder, captions.missing)
        prompts |= {f"{folder.parent.name}/{stem}": text for stem, text in of_set.items()}
    return prompts


def image_prompts(source: Path | None, images: Path, missing: Missing) -> dict[str, str]:
    """The caption of every image of a folder, by file stem; none at all without a source.

    Raises:
        UserError: as `training_prompts`.
    """
    return captions_of(list_images(images), read_captions(source), missing, str(source)) if source else {}
