"""Which captions belong to which images: one file or folder a set."""

from collections.abc import Sequence
from pathlib import Path

from framer.data.captions import Missing, captions_file, captions_of, read_captions
from framer.data.images import list_images
from framer.data.pairs import photograph_name
from framer.jobs import Captions


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
        prompts |= {photograph_name(folder / stem): text for stem, text in of_set.items()}
    return prompts


def image_prompts(source: Path | None, images: Path, missing: Missing) -> dict[str, str]:
    """The caption of every image of a folder, by file stem; none at all without a source.

    Raises:
        UserError: as `training_prompts`.
    """
    return captions_of(list_images(images), read_captions(source), missing, str(source)) if source else {}
