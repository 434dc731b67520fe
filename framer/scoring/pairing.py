"""Which images are scored: SR and HR of equal name and size, 8-bit RGB, all checked before the first is scored."""

from pathlib import Path

from framer.data.images import is_wide, list_images, opened, orientation, paired
from framer.errors import UserError, named
from framer.scoring.protocols import Metric

Pair = tuple[Path, Path | None]


def pair_up(sr: Path, hr: Path | None) -> list[Pair]:
    """SR and HR files of equal stem, sorted by stem.

    Raises:
        UserError: a folder is missing or empty, or a stem is in one folder only.
    """
    if hr is None:
        return [(path, None) for path in list_images(sr).values()]
    return [(restored, reference) for _, restored, reference in paired(sr, hr)]


def check(pairs: list[Pair], metrics: list[Metric]) -> None:
    """Check formats and sizes from the headers alone, so that a set of thousands fails in its first second.

    Args:
        pairs: SR and HR files.
        metrics: the metrics to compute on them.

    Raises:
        UserError: an image is not 8-bit RGB, SR and HR differ in size, an image is too small for a metric, or there
            are too few for a metric of whole sets.
    """
    different = []
    for sr, hr in pairs:
        size = decoded_size(sr)
        if hr and (of_hr := decoded_size(hr)) != size:
            different.append(f"{sr.name} ({'x'.join(map(str, size))}, HR {'x'.join(map(str, of_hr))})")
        for metric in metrics:
            if min(size) < metric.min_side:
                message = f"{size[0]}x{size[1]} pixels; {metric.name} needs at least {metric.min_side} on each side"
                raise UserError(message, path=sr)
    folder = pairs[0][0].parent
    if different:
        message = f"sizes differ from HR: {named(different)}; restore to exactly x4"
        raise UserError(message, path=folder, code="mismatch")
    for metric in metrics:
        if metric.of_set and len(pairs) < 2:
            raise UserError(f"{metric.name} needs two images or more; leave it out of the metrics", path=folder)


def decoded_size(path: Path) -> tuple[int, int]:
    """Width and height as they will be decoded, from the header of an image that must be 8-bit RGB.

    Readers of the field convert other kinds of images differently. Pillow's mode of 16-bit RGB is "RGB" too, and is cut
    to 8 bits; the arguments of its tiles show the depth.

    Raises:
        UserError: not an image, or not 8-bit RGB.
    """
    with opened(path) as image:
        # Pillow decodes all of a PNG to look for orientation behind its pixels: that is found when it is decoded.
        turned = image.format != "PNG" and orientation(image) >= 5
        clear = "transparency" in image.info
        mode, size, wide = image.mode, image.size, is_wide(image)
    if mode != "RGB" or wide or clear:
        names = {
            "RGB": "16-bit RGB" if wide else "RGB with a transparent color",
            "L": "gray",
            "LA": "gray with alpha",
            "RGBA": "RGB with alpha",
            "P": "a palette image",
        }
        found = "16-bit or wider gray" if mode[0] in "IF" else names.get(mode, f"of mode {mode}")
        raise UserError(f"{found}; scores need 8-bit RGB: convert it", path=path)
    return (size[1], size[0]) if turned else size
