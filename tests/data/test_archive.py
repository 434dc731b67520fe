"""Archives that are damaged, hostile, or packed in a way that Python cannot read."""

import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest

from framer.data.archive import ALLOWANCE, RATIO, extract
from framer.errors import UserError
from tests.hub.test_download import MEMBERS, archive, png


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    whole = archive(MEMBERS)
    (tmp_path / "LR").mkdir()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"x\.zip: a damaged archive"):
            extract(path, {"LR": "sets/Mine/test_LR/"}, tmp_path)


def damaged_archives() -> dict[str, tuple[str, bytes]]:
    """Archives that cannot be unpacked whole: name and bytes of each."""
    plain = archive(MEMBERS)
    image = png(64, 0)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as out:
        out.writestr("sets/Mine/test_LR/a.png", image)
    packed = file.getvalue()
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as out:
        for name, data in {
            "sets/Mine/test_LR/a.png": image,
            "other/noise": np.random.default_rng(0).bytes(9999),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    zipped = gzip.compress(tape.getvalue())
    xz = lzma.compress(tape.getvalue())

    def flagged(data: bytes, method: int | None = None, flag: int = 0) -> bytes:
        """Every header of a zip with another compression method, or with a flag set."""
        changed = bytearray(data)
        for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            place = -1
            while (place := data.find(mark, place + 1)) >= 0:
                changed[place + at] |= flag
                if method is not None:
                    changed[place + at + 2] = method
        return bytes(changed)

    def flipped(data: bytes, place: int) -> bytes:
        return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]

    return {
        "encrypted": ("x.zip", flagged(plain, flag=1)),
        "deflate64": ("x.zip", flagged(plain, method=9)),
        "zstd": ("x.zip", flagged(plain, method=93)),
        "aes": ("x.zip", flagged(plain, method=99)),
        "lzma": ("x.zip", flipped(packed, 90)),
        "xz": ("x.tar", flipped(xz, len(xz) // 2)),
        "gzip-cut": ("x.tgz", zipped[: len(zipped) - 4]),
        "gzip-checksum": ("x.tgz", flipped(zipped, len(zipped) - 6)),
        "gzip-data": ("x.tar.gz", flipped(zipped, len(zipped) // 2)),
        "not-gzip": ("x.tgz", b"no archive at all"),
        "bomb": ("x.zip", bomb()),
    }


def bomb() -> bytes:
    """An archive whose one image unpacks to a thousand times its size."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("sets/Mine/test_LR/a.png", bytes(80 << 20))
    return file.getvalue()


@pytest.mark.parametrize("kind", damaged_archives())
def test_what_cannot_be_unpacked_whole_is_refused(tmp_path, kind):
    name, data = damaged_archives()[kind]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "LR").mkdir()
    with pytest.raises(UserError) as error:
        extract(tmp_path / name, {"LR": "sets/Mine/test_LR/"}, tmp_path)
    assert error.value.path == str(tmp_path / name)
    assert error.value.code == ("mismatch" if kind == "bomb" else "unreadable")
    assert sum(path.stat().st_size for path in (tmp_path / "LR").iterdir()) <= ALLOWANCE + RATIO * len(data)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as out, pytest.warns(UserWarning, match="Duplicate name"):
        out.writestr("p/a.png", b"1")
        out.writestr("p/a.png", b"2")
    (tmp_path / "LR").mkdir()
    with pytest.raises(UserError, match=r"'p/a\.png' is there twice"):
        extract(path, {"LR": "p/"}, tmp_path)


def test_a_disk_that_takes_no_file_is_one_line(tmp_path):
    path = tmp_path / "x.zip"
    path.write_bytes(archive(MEMBERS))
    with pytest.raises(UserError, match=r"cannot unpack x\.zip \(\[Errno 2\]"):
        extract(path, {"LR": "sets/Mine/test_LR/"}, tmp_path / "no such folder")
