"""Bad input is named in one line before anything is scored."""

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.errors import UserError
from framer.scoring.pairing import check, pair_up
from framer.scoring.protocols import Protocol

METRICS = Protocol.named("osediff").select(["psnr", "ssim"])


def sixteen_bit_rgb(path: Path) -> None:
    """Pillow cannot write one: a PNG of 52 x 40 pixels by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(52 * 6) for _ in range(40))
    head = struct.pack(">IIBBBBB", 52, 40, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def spoil(path: Path, how: str) -> None:
    image = Image.open(path).convert("RGB")
    match how:
        case "grey" | "alpha" | "palette":
            image.convert({"grey": "L", "alpha": "RGBA", "palette": "P"}[how]).save(path)
        case "16-bit grey":
            Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257).save(path)
        case "16-bit RGB":
            sixteen_bit_rgb(path)
        case "no image":
            path.write_text("not an image")


@pytest.mark.parametrize("side", ["SR", "HR"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("grey", "gray"),
        ("alpha", "RGB with alpha"),
        ("palette", "a palette image"),
        ("16-bit grey", "16-bit or wider gray"),
        ("16-bit RGB", "16-bit RGB"),
        ("no image", "not a PNG, JPEG, WEBP, BMP, TIFF image"),
    ],
)
def test_what_is_no_8_bit_rgb_is_refused(pairs: tuple[Path, Path], tmp_path: Path, side: str, how: str, words: str):
    path = tmp_path / side / "image_0.png"
    spoil(path, how)
    with pytest.raises(UserError) as error:
        check(pair_up(*pairs), METRICS)
    assert str(error.value).startswith(f"{path}: {words}")
    assert "\n" not in str(error.value)


def test_jpeg_and_other_files_of_8_bit_rgb_pass(pairs: tuple[Path, Path]):
    for suffix in (".jpg", ".bmp", ".webp", ".tif"):
        for folder in pairs:
            for path in list(folder.iterdir()):
                Image.open(path).save(path.with_suffix(suffix))
                path.unlink()
        check(pair_up(*pairs), METRICS)


def test_pairs_go_by_stem(pairs: tuple[Path, Path]):
    sr, hr = pairs
    (sr / "image_1.png").rename(sr / "image_1.PNG")
    assert [(a.stem, b and b.stem) for a, b in pair_up(sr, hr)] == [(f"image_{i}",) * 2 for i in range(3)]


@pytest.mark.parametrize("side", ["SR", "HR"])
def test_an_image_on_one_side_only_is_refused(pairs: tuple[Path, Path], side: str, tmp_path: Path):
    for index in range(8):
        shutil.copy(tmp_path / side / "image_0.png", tmp_path / side / f"more_{index}.png")
    other = {"SR": "HR", "HR": "SR"}[side]
    with pytest.raises(UserError) as error:
        pair_up(*pairs)
    message = str(error.value)
    assert message.startswith(f"{tmp_path / other}: no image for more_0, more_1, more_2, more_3, more_4 and 3 more")


def test_sizes_must_agree(pairs: tuple[Path, Path]):
    Image.new("RGB", (32, 40)).save(pairs[0] / "image_0.png")
    with pytest.raises(UserError, match=r"SR: sizes differ from HR: image_0\.png \(32x40, HR 52x40\); restore"):
        check(pair_up(*pairs), METRICS)


def test_images_that_are_too_small_are_named(tmp_path: Path):
    for folder in ("SR", "HR"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (1, 1)).save(tmp_path / folder / "dot.png")
    dots = pair_up(tmp_path / "SR", tmp_path / "HR")
    check(dots, METRICS[:1])
    with pytest.raises(UserError, match=r"dot\.png: 1x1 pixels; ssim needs at least 11"):
        check(dots, METRICS)
    with pytest.raises(UserError, match="SR: fid needs two images or more; leave it out"):
        check(dots, Protocol.named("osediff").select(["fid"]))
