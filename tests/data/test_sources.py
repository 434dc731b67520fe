"""Sources in turn, archives and folders dropped by hand, and the check of images before they are used."""

import hashlib
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from framer.dag.inventory import inventory
from framer.data.fetch import fetch, how_to_get, present
from framer.data.image_folder import complete, verify
from framer.data.manifest import Manifest
from framer.errors import UserError
from framer.hub.remote_file import Remote
from tests.hub.hub_server import COMMIT, Hub


def png(side: int, seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


IMAGES = {f"{part}/{name}.png": png(side, ord(name)) for part, side in (("LR", 8), ("HR", 32)) for name in "abc"}
BY_HAND = {"kind": "manual", "folders": ["LR", "HR"], "where": ["a shelf"], "note": "ask nicely"}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in members.items():
            out.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def manifest(datasets: Path, *sources: dict, listed: bool = True, **changes: object) -> Manifest:
    datasets.mkdir(exist_ok=True)
    images = {part: {f"{x}.png": digest(IMAGES[f"{part}/{x}.png"]) for x in "abc"} for part in ("LR", "HR")}
    keys = {"id": "mine", "title": "Mine", "license": "none", "paired": True, "scale": 4, "count": 3}
    keys |= {"sources": list(sources), "images": images if listed else {}}
    (datasets / "mine.yaml").write_text(yaml.safe_dump(keys | changes))
    return Manifest.load("mine", datasets)


def images(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


@pytest.fixture
def web():
    with Hub("team/sets", dict(IMAGES)).serve() as hub:
        yield hub


def singles(web: Hub) -> dict:
    return {"kind": "files", "at": {p: f"{web.url}/datasets/team/sets/resolve/{COMMIT}/{p}/" for p in ("LR", "HR")}}


def archive(web: Hub, name: str, **known: object) -> dict:
    at = f"{web.url}/datasets/team/sets/resolve/{COMMIT}/{name}"
    return {"kind": "archive", "files": [{"at": [at], **known}], "members": {"LR": "s/LR/", "HR": "s/HR/"}}


def drop(datasets: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = datasets / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_the_next_source_is_asked_when_one_fails(tmp_path, web):
    made = manifest(tmp_path, archive(web, "gone.zip"), singles(web), BY_HAND)
    fetch(made, tmp_path, progress=False)
    assert images(tmp_path / "mine") == IMAGES
    assert '"kind": "files"' in (tmp_path / "mine" / "card.json").read_text()
    assert complete(tmp_path / "mine", made)
    assert not (tmp_path / ".download" / "mine").exists()


def test_when_all_sources_fail_one_line_names_each(tmp_path, web):
    web.files.clear()
    made = manifest(tmp_path, archive(web, "gone.zip"), singles(web), BY_HAND)
    with pytest.raises(UserError) as error:
        fetch(made, tmp_path, progress=False)
    message = str(error.value)
    assert "\n" not in message
    assert message.count("the server answered 404") == 2
    assert "put the images into" in message
    assert not images(tmp_path)


def test_a_cut_archive_from_the_web_is_resumed(tmp_path, web):
    data = zipped({f"s/{n}": d for n, d in IMAGES.items()} | {"s/padding": bytes(1 << 20)})
    web.files["s.zip"], web.cut = data, 1 << 19
    fetch(manifest(tmp_path, archive(web, "s.zip", sha256=digest(data)[:8])), tmp_path, progress=False)
    assert images(tmp_path / "mine") == IMAGES
    assert "GET s.zip bytes=524288-" in web.requests


@pytest.mark.parametrize(("fail", "tries"), [(1, 2), (2, 3), (3, 3)])
def test_a_server_of_the_web_that_fails_is_asked_three_times(tmp_path, web, capsys, fail, tries):
    data = zipped({f"s/{n}": d for n, d in IMAGES.items()})
    web.files["s.zip"], web.fail = data, fail
    made = manifest(tmp_path, archive(web, "s.zip", sha256=digest(data)))
    if fail < 3:
        fetch(made, tmp_path, progress=False)
        assert images(tmp_path / "mine") == IMAGES
    else:
        with pytest.raises(UserError, match=r"s\.zip: the server answered 500 \(Internal Server Error\)"):
            fetch(made, tmp_path, progress=False)
    assert len(web.requests) == tries
    retries = [line for line in capsys.readouterr().err.splitlines() if "trying again in" in line]
    assert len(retries) == tries - 1 and all("s.zip: the server answered 500 " in line for line in retries)


def test_a_corrupt_body_from_the_web_is_fetched_again_and_then_refused(tmp_path, web):
    data = zipped({f"s/{n}": d for n, d in IMAGES.items()})
    web.files["s.zip"], web.corrupt = data, 1
    made = manifest(tmp_path, archive(web, "s.zip", size=len(data), sha256=digest(data)))
    fetch(made, tmp_path, progress=False)
    assert images(tmp_path / "mine") == IMAGES
    shutil.rmtree(tmp_path / "mine")
    web.corrupt = 2
    with pytest.raises(UserError, match=r"its SHA-256 is .*, not "):
        fetch(made, tmp_path, progress=False)
    assert not images(tmp_path)


def test_an_archive_of_unknown_hash_is_bound_by_its_first_use(tmp_path, web):
    data = zipped({f"s/{n}": d for n, d in IMAGES.items()})
    web.files["s.zip"] = data
    made = manifest(tmp_path, archive(web, "s.zip"))
    fetch(made, tmp_path, progress=False)
    (tmp_path / "mine" / "HR" / "a.png").unlink()
    web.files["s.zip"] = data + b"more"
    with pytest.raises(UserError, match=r"not the file that .* records"):
        fetch(made, tmp_path, progress=False)
    assert len(images(tmp_path / "mine")) == 5
    web.files["s.zip"] = data
    fetch(made, tmp_path, progress=False)
    assert images(tmp_path / "mine") == IMAGES


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_a_dropped_archive_is_unpacked(tmp_path, suffix):
    made = manifest(tmp_path, BY_HAND)
    members = {f"Mine/{n}": d for n, d in IMAGES.items()} | {"Mine/readme.txt": b"hello", "__MACOSX/LR/a.png": b"x"}
    if suffix == "zip":
        drop(tmp_path, {"any.zip": zipped(members)})
    else:
        (tmp_path / "mine").mkdir()
        with tarfile.open(tmp_path / "mine" / f"any.{suffix}", "w:gz" if suffix == "tar.gz" else "w") as out:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
    assert present(made, tmp_path)
    fetch(made, tmp_path, progress=False)
    assert images(tmp_path / "mine") == IMAGES


@pytest.mark.parametrize("name", ["../LR/evil.png", "/LR/evil.png", "x/..\\y/LR/evil.png"])
def test_a_dropped_archive_with_an_escaping_member_is_refused(tmp_path, name):
    made = manifest(tmp_path, BY_HAND)
    drop(tmp_path, {"any.zip": zipped({f"Mine/{n}": d for n, d in IMAGES.items()} | {name: b"x"})})
    with pytest.raises(UserError, match="is not an image right in its folder"):
        fetch(made, tmp_path, progress=False)
    assert not images(tmp_path)


def test_a_link_in_a_tar_archive_is_refused(tmp_path):
    made = manifest(tmp_path, BY_HAND)
    (tmp_path / "mine").mkdir()
    with tarfile.open(tmp_path / "mine" / "any.tar", "w") as out:
        link = tarfile.TarInfo("Mine/LR/a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
    with pytest.raises(UserError, match=r"'Mine/LR/a\.png' is a link"):
        fetch(made, tmp_path, progress=False)


def test_a_dropped_archive_that_the_manifest_knows_must_be_that_one(tmp_path, web):
    data = zipped({f"s/{n}": d for n, d in IMAGES.items()})
    made = manifest(tmp_path, archive(web, "s.zip", sha256=digest(data)), BY_HAND)
    drop(tmp_path, {"s.zip": data[:-1] + b"\1"})
    with pytest.raises(UserError, match=r"s\.zip: its SHA-256 is .*, not "):
        fetch(made, tmp_path, progress=False)
    drop(tmp_path, {"s.zip": data})
    fetch(made, tmp_path, progress=False)
    assert images(tmp_path / "mine") == IMAGES
    assert not web.requests


def test_dropped_folders_are_taken_before_any_network_and_must_have_the_listed_bytes(tmp_path, web):
    made = manifest(tmp_path, singles(web), BY_HAND)
    drop(tmp_path, IMAGES | {"HR/b.png": png(32, 9)})
    with pytest.raises(UserError, match=r"mine: HR/b\.png: not the sha256 that the manifest lists"):
        fetch(made, tmp_path, progress=False)
    assert not (tmp_path / "mine" / "card.json").exists()
    drop(tmp_path, IMAGES)
    fetch(made, tmp_path, progress=False)
    assert complete(tmp_path / "mine", made)
    assert not web.requests
    # What was once sealed and has lost something is fetched again.
    (tmp_path / "mine" / "card.json").unlink()
    (tmp_path / "mine" / "LR" / "c.png").unlink()
    fetch(made, tmp_path, progress=False)
    assert images(tmp_path / "mine") == IMAGES


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"LR/a.png": png(8, 1)}, "HR: no such folder"),
        ({n: d for n, d in IMAGES.items() if "c.png" not in n}, "holds 2 images, where the manifest has 3"),
        ({n.replace("c.", "d."): d for n, d in IMAGES.items()}, "no c, which the manifest lists"),
    ],
)
def test_a_set_dropped_in_part_is_not_present_and_says_why(tmp_path, files, words):
    made = manifest(tmp_path, BY_HAND)
    drop(tmp_path, files)
    assert not present(made, tmp_path)
    assert words in how_to_get(made, tmp_path)
    with pytest.raises(UserError, match=words):
        fetch(made, tmp_path, progress=False)


@pytest.mark.parametrize("hashed", [True, False])
def test_images_are_checked_against_their_index(tmp_path, monkeypatch, hashed):
    monkeypatch.setattr("framer.data.image_folder.HASHED", 500 if hashed else 1)
    made = manifest(tmp_path, BY_HAND, listed=False)
    drop(tmp_path, IMAGES)
    fetch(made, tmp_path, progress=False)
    top = tmp_path / "mine"
    for folder in (top, top / "LR", top / "HR"):
        verify(folder)
    whole = (top / "HR" / "a.png").read_bytes()
    (top / "HR" / "a.png").write_bytes(png(32, 77) if hashed else png(31, 77))
    verify(top / "LR")
    for folder in (top, top / "HR"):
        with pytest.raises(UserError, match=r"HR/a\.png: not the file that .*index\.csv lists"):
            verify(folder)
    (top / "HR" / "a.png").write_bytes(whole)
    (top / "HR" / "z.png").write_bytes(whole)
    with pytest.raises(UserError, match=r"HR/z\.png|z\.png: not as"):
        verify(top / "HR")
    (top / "HR" / "z.png").unlink()
    (top / "index.csv").write_text((top / "index.csv").read_text().replace("a", "b"))
    with pytest.raises(UserError, match="its sha256 is not the one"):
        verify(top / "LR")
    verify(tmp_path)  # no card: taken as it is


def test_the_inventory_names_state_size_and_license(tmp_path, web):
    manifest(tmp_path, archive(web, "s.zip", size=3_100_000_000), BY_HAND, license="MIT", gated=True)
    (line,), missing = inventory(tmp_path, ["mine"], [])
    assert missing
    assert line == "mine  missing  3.1 GB  MIT (gated: needs HF_TOKEN)  [framer fetch mine]"
    drop(tmp_path, IMAGES)
    assert "mine  dropped" in inventory(tmp_path, ["mine"], [])[0][0]
    fetch(Manifest.load("mine", tmp_path), tmp_path, progress=False)
    lines, missing = inventory(tmp_path, ["mine"], [])
    assert (lines[0].split()[:2], missing) == (["mine", "here"], False)


@pytest.mark.parametrize(
    "address", ["hf://a/b", "hf://datasets/b/c", "hf://datasets/b", "http://x", "ftp://x/y", "https://x/y/"]
)
def test_addresses_that_name_no_file_are_refused(address):
    with pytest.raises(ValueError, match="at"):
        Remote.model_validate({"at": [address]})


def test_a_disk_that_cannot_hold_it_is_said_before_the_download(tmp_path, web):
    made = manifest(tmp_path, archive(web, "s.zip", size=10**16), singles(web))
    with pytest.raises(UserError, match=r"10000000\.0 GB are needed and .* free; free space or set HF_HOME"):
        fetch(made, tmp_path, progress=False)
    assert not web.requests
    assert not images(tmp_path)


def test_a_disk_that_fills_up_is_one_line(tmp_path, web):
    web.files["s.zip"] = zipped({f"s/{n}": d for n, d in IMAGES.items()})
    part = tmp_path / ".download" / "mine" / "s.zip.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")  # every write to it fails as on a full disk
    with pytest.raises(UserError, match="the disk is full; free space or set HF_HOME, then run again"):
        fetch(manifest(tmp_path, archive(web, "s.zip"), singles(web)), tmp_path, progress=False)
    assert not images(tmp_path)
