import hashlib
import os
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.data.image_folder import listing
from framer.data.images import Entry, image_size, list_images, paired, read_index, read_rgb, write_index, write_png
from framer.errors import UserError

ORIENTATION = 0x0112


def png16(path: Path, pixels: np.ndarray) -> None:
    """A 16-bit PNG written from its specification: Pillow cannot write one in colour."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_lists_by_stem_in_order_and_skips_what_is_no_image(tmp_path, noise_image):
    for name in ("b.png", "a.JPG", "c10.webp", "c9.bmp", "d.tif"):
        noise_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.png").write_text("")
    (tmp_path / "folder.png").mkdir()
    assert list(list_images(tmp_path).items()) == [
        (name.split(".")[0], tmp_path / name) for name in ("a.JPG", "b.png", "c10.webp", "c9.bmp", "d.tif")
    ]


def test_pairs_by_stem_whatever_the_order_and_extension(tmp_path, noise_image):
    for name in ("10.png", "9.jpg", "a.png"):
        noise_image(tmp_path / "LR" / name)
    for name in ("a.webp", "10.png", "9.png"):
        noise_image(tmp_path / "HR" / name)
    assert [(stem, lr.name, hr.name) for stem, lr, hr in paired(tmp_path / "LR", tmp_path / "HR")] == [
        ("10", "10.png", "10.png"),
        ("9", "9.jpg", "9.png"),
        ("a", "a.png", "a.webp"),
    ]


@pytest.mark.parametrize(("few", "many"), [("LR", "HR"), ("HR", "LR")])
def test_what_has_no_partner_is_named_up_to_five(tmp_path, noise_image, few, many):
    noise_image(tmp_path / few / "0.png")
    for number in range(8):
        noise_image(tmp_path / many / f"{number}.png")
    with pytest.raises(UserError, match=rf"/{few}: no image for 1, 2, 3, 4, 5 and 2 more, which \S+/{many} has"):
        paired(tmp_path / "LR", tmp_path / "HR")


def test_listing_refuses_duplicate_stems_and_emptiness(tmp_path, noise_image):
    with pytest.raises(UserError, match="holds no image"):
        list_images(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        list_images(tmp_path / "nowhere")
    noise_image(tmp_path / "a.png")
    noise_image(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg and a\.png have one stem"):
        list_images(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(read_rgb(tmp_path / f"x.{suffix}"), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    # A picture whose four quadrants are red, green / blue, white when it is the right way up.
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12], upright[:8, 12:], upright[8:, :12], upright[8:, 12:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
    # What the stored rows and columns start from in the picture, as the EXIF standard defines each value.
    rows = {1: "top", 2: "top", 3: "bottom", 4: "bottom", 5: "left", 6: "right", 7: "right", 8: "left"}[orientation]
    columns = {1: "left", 2: "right", 3: "right", 4: "left", 5: "top", 6: "top", 7: "bottom", 8: "bottom"}[orientation]
    stored = upright[:: -1 if "bottom" in (rows, columns) else 1, :: -1 if "right" in (rows, columns) else 1]
    if rows in ("left", "right"):
        stored = stored.transpose(1, 0, 2)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_rgb(tmp_path / "x.png"), upright)
    assert image_size(tmp_path / "x.png") == (24, 16)


def test_gray_is_repeated(tmp_path):
    grey = np.arange(60, dtype=np.uint8).reshape(6, 10)
    Image.fromarray(grey).save(tmp_path / "x.png")
    assert np.array_equal(read_rgb(tmp_path / "x.png"), np.repeat(grey[:, :, None], 3, 2))


def test_16_bit_gray_is_rounded_not_clipped(tmp_path):
    values = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], np.uint16)
    png16(tmp_path / "x.png", values[:, :, None])
    expected = np.round(values / 257).astype(np.uint8)
    assert np.array_equal(read_rgb(tmp_path / "x.png"), np.repeat(expected[:, :, None], 3, 2))
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert np.array_equal(read_rgb(tmp_path / "x.tif"), np.repeat(expected[:, :, None], 3, 2))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_color_is_rounded_as_gray_is(tmp_path, suffix):
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3))
    values[0, :, 0] = [0, 128, 129, 257, 32896, 65406, 65407, 65535]
    path = tmp_path / f"x.{suffix}"
    if suffix == "png":
        png16(path, values)
    else:
        cv2 = pytest.importorskip("cv2")
        cv2.imwrite(str(path), values[:, :, ::-1].astype(np.uint16), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    assert np.array_equal(read_rgb(path), np.round(values / 257).astype(np.uint8))


def test_a_32_bit_tiff_of_8_bit_levels_keeps_them(tmp_path):
    levels = np.arange(256, dtype=np.int32).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "8.tif")
    assert np.array_equal(read_rgb(tmp_path / "8.tif")[..., 0], levels)
    Image.fromarray(levels * 257).save(tmp_path / "16.tif")
    assert np.array_equal(read_rgb(tmp_path / "16.tif")[..., 1], levels)
    Image.fromarray(levels - 1).save(tmp_path / "negative.tif")
    with pytest.raises(UserError) as error:
        read_rgb(tmp_path / "negative.tif")
    assert (error.value.path, error.value.code) == (str(tmp_path / "negative.tif"), "unreadable")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_hide_the_pixels(tmp_path):
    pixels = np.full((8, 16, 3), 90, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffrest")
    assert np.array_equal(read_rgb(tmp_path / "x.jpg"), pixels)
    assert image_size(tmp_path / "x.jpg") == (16, 8)


def left_out_of(folder, capsys):
    """What one line says that `listing` leaves out."""
    listing(folder)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 1
    return "".join(lines)


@pytest.mark.parametrize(
    "name", ["x.jfif", "x.jpe", "x.gif", "x.ppm", "x.avif", "x.tga", "dangling.png", "loop.png", "pipe.png", "more"]
)
def test_what_is_no_image_file_is_named_in_one_line(tmp_path, noise_image, capsys, name):
    noise_image(tmp_path / "a.png")
    assert left_out_of(tmp_path, capsys) == ""
    match name:
        case "dangling.png":
            (tmp_path / name).symlink_to(tmp_path / "gone.png")
        case "loop.png":
            (tmp_path / name).symlink_to(tmp_path / name)
        case "pipe.png":
            os.mkfifo(tmp_path / name)
        case "more":
            noise_image(tmp_path / "more/b.png")
        case _:
            (tmp_path / name).write_bytes(b"x")
    assert name in left_out_of(tmp_path, capsys)
    assert list(list_images(tmp_path)) == ["a"]


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_of_several_frames_the_first_is_read_and_one_line_tells(tmp_path, noise_image, capsys, suffix):
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 200)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert f"x.{suffix}" in left_out_of(tmp_path, capsys)
    assert np.array_equal(read_rgb(tmp_path / f"x.{suffix}"), np.asarray(frames[0]))


def test_names_pair_in_either_normal_form_of_unicode(tmp_path, noise_image):
    for part, form in (("LR", "NFC"), ("HR", "NFD")):
        noise_image(tmp_path / part / unicodedata.normalize(form, "sch\u00f6n.png"))
    [(stem, lr, hr)] = paired(tmp_path / "LR", tmp_path / "HR")
    assert stem == "sch\u00f6n" and lr.name != hr.name
    noise_image(tmp_path / "LR" / hr.name)
    with pytest.raises(UserError) as error:
        list_images(tmp_path / "LR")
    assert error.value.code == "conflict"


@pytest.mark.parametrize("name", [b"\xe4.png", b"a\nb.png"])
def test_names_that_do_not_fit_on_a_line_are_refused(tmp_path, noise_image, name):
    noise_image(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / os.fsdecode(name))
    with pytest.raises(UserError) as error:
        list_images(tmp_path)
    assert error.value.path == str(tmp_path)
    assert str(error.value).isprintable()


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[:, 0], rgba[:, 1], rgba[:, 2] = (10, 20, 30, 255), (10, 20, 30, 0), (0, 100, 200, 51)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    assert np.array_equal(read_rgb(tmp_path / "x.png")[0], [(10, 20, 30), (255, 255, 255), (204, 224, 244)])
    Image.fromarray(rgba[:, :, 2:]).save(tmp_path / "grey.png")
    assert np.array_equal(read_rgb(tmp_path / "grey.png")[0, 1], (255, 255, 255))
    palette = Image.fromarray(rgba[:, :, :3]).quantize(3)
    palette.info["transparency"] = palette.getpixel((1, 0))
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read_rgb(tmp_path / "palette.png")[0, 1], (255, 255, 255))


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "missing", "float"])
def test_what_cannot_be_read_is_one_line_with_the_name(tmp_path, noise_image, damage):
    path = tmp_path / ("x.tif" if damage == "float" else "x.png")
    noise_image(path)
    whole = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "text":
            path.write_text("not an image")
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "float":
            Image.fromarray(np.zeros((4, 4), np.float32)).save(path)
    with pytest.raises(UserError) as error:
        read_rgb(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_png_round_trip_and_fixed_bytes(tmp_path, noise_image):
    pixels = noise_image(tmp_path / "source.png")
    write_png(tmp_path / "deep" / "a.png", pixels)
    os.utime(tmp_path / "deep" / "a.png", (0, 0))
    write_png(tmp_path / "b.png", np.asfortranarray(pixels))
    assert np.array_equal(read_rgb(tmp_path / "b.png"), pixels)
    assert (tmp_path / "deep" / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "c.png", pixels.astype(np.float32))
    assert not (tmp_path / "c.png").exists()


def test_index_round_trip(tmp_path, noise_image):
    noise_image(tmp_path / "LR" / "b.png", 8, 4)
    noise_image(tmp_path / "HR" / "a.png", 32, 16)
    write_index(tmp_path, ["LR/b.png", "HR/a.png"])
    hashes = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("HR/a.png", "LR/b.png")]
    assert read_index(tmp_path) == [Entry("HR/a.png", 32, 16, hashes[0]), Entry("LR/b.png", 8, 4, hashes[1])]
    assert (tmp_path / "index.csv").read_text().splitlines()[0] == "name,width,height,sha256"


def test_no_index_of_an_unreadable_image(tmp_path, noise_image):
    noise_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(UserError, match=r"b\.png: not a readable image"):
        write_index(tmp_path, ["a.png", "b.png"])
    assert not (tmp_path / "index.csv").exists()


def test_a_damaged_index_is_said_so(tmp_path):
    with pytest.raises(UserError, match="incomplete"):
        read_index(tmp_path)
    (tmp_path / "index.csv").write_text("name,width\na.png,3\n")
    with pytest.raises(UserError, match="not an index"):
        read_index(tmp_path)


def test_real_photographs_decode_alike_in_a_second_decoder():
    cv2 = pytest.importorskip("cv2")
    folder = os.environ.get("FRAMER_TEST_DATA")
    if not folder:
        pytest.skip("FRAMER_TEST_DATA is not set")
    for path in list(list_images(Path(folder) / "realsr_dev" / "lr").values())[:5]:
        assert np.array_equal(read_rgb(path), cv2.imread(str(path))[:, :, ::-1])
