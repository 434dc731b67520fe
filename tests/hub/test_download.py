"""The real hub client against a hub on loopback, by the command line."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from framer.data.archive import extract
from framer.errors import UserError
from tests.hub.hub_server import COMMIT, IMPATIENT, Hub

REPO, FILE = "team/sets", "sets.zip"


def png(side: int, seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


MEMBERS = {
    **{f"sets/Mine/test_LR/{name}.png": png(8, i) for i, name in enumerate("abc")},
    **{f"sets/Mine/test_HR/{name}.png": png(32, i) for i, name in enumerate("abc")},
    "sets/Mine/test_LR/.DS_Store": b"noise",
    "sets/Other/test_LR/z.png": png(8, 9),
}


def archive(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in members.items():
            out.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


class Desk:
    """A user's folder, hub cache and command line."""

    def __init__(self, folder: Path, hub: Hub):
        self.datasets, self.home, self.hub = folder / "datasets", folder / "home", hub
        self.said = ""
        self.datasets.mkdir()
        self.manifest()

    def manifest(self, *more: dict[str, object], **changes: object) -> None:
        data = self.hub.files[FILE]
        file = {
            "at": [f"hf://datasets/{REPO}@{COMMIT}/{FILE}"],
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        members = {"LR": "sets/Mine/test_LR/", "HR": "sets/Mine/test_HR/"}
        source = {"kind": "archive", "files": [file | changes], "members": members}
        keys = {"id": "mine", "title": "Mine", "licence": "none", "paired": True, "scale": 4, "count": 3}
        (self.datasets / "mine.yaml").write_text(yaml.safe_dump({**keys, "sources": [source, *more]}))

    def fetch(self, **environment: str) -> tuple[int, str]:
        """Exit code and last line of stderr of `framer fetch mine`."""
        self.hub.requests.clear()
        env = os.environ | {
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": IMPATIENT,
            **environment,
        }
        command = [sys.executable, "-m", "framer", "fetch", "mine", "--datasets", str(self.datasets)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        self.said = done.stderr
        return done.returncode, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""

    def tree(self) -> dict[str, bytes]:
        folder = self.datasets / "mine"
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    def is_right(self) -> bool:
        """Every image is there, with the archive's bytes, and nothing else."""
        tree = self.tree()
        images = {f"{part}/{x}.png": MEMBERS[f"sets/Mine/test_{part}/{x}.png"] for part in ("LR", "HR") for x in "abc"}
        rest = tree.keys() - images.keys()
        return {name: tree.get(name) for name in images} == images and rest == {"index.csv", "card.json"}

    def forget(self) -> None:
        """Delete the set, not the client's cache."""
        (self.datasets / "mine" / "card.json").unlink()


@pytest.fixture
def desk(tmp_path):
    with Hub(REPO, {FILE: archive(MEMBERS)}).serve() as hub:
        yield Desk(tmp_path, hub)


def test_cold_warm_and_offline(desk):
    code, message = desk.fetch(HF_HUB_OFFLINE="1")
    assert code == 2
    assert "not in the cache" in message
    assert desk.tree() == {}
    assert desk.fetch()[0] == 0
    assert desk.hub.requests == [f"HEAD {FILE}", f"GET {FILE}"]
    assert desk.is_right()
    # A set that is complete asks nobody; a pinned archive in the cache needs no network.
    assert desk.fetch()[0] == 0
    desk.forget()
    assert desk.fetch(HF_HUB_OFFLINE="1")[0] == 0
    assert desk.hub.requests == []
    assert desk.is_right()


def test_no_network(desk):
    code, message = desk.fetch(HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 2
    assert "the hub is out of reach" in message
    assert [line.split("; trying ")[1] for line in desk.said.splitlines()[:-1]] == [
        "again in 5 s (1 of 2)",
        "again in 20 s (2 of 2)",
    ]
    assert desk.tree() == {}


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        (
            (401, "GatedRepo"),
            "gated; accept its terms on the hub (https://huggingface.co/datasets/team/sets), then set",
        ),
        ((401, "RepoNotFound"), "no such dataset on the hub, or it is private"),
        ((404, "RevisionNotFound"), f"the hub has no revision {COMMIT}"),
        ((404, "EntryNotFound"), f"no such file at revision {COMMIT}"),
    ],
)
def test_what_the_hub_refuses_is_one_line(desk, refuse, message):
    desk.hub.refuse = refuse
    code, line = desk.fetch()
    assert code == 2
    assert f"{REPO}: {FILE}: {message}" in line
    assert desk.tree() == {}


def test_a_cut_body_is_resumed(desk):
    big = archive(MEMBERS | {"sets/padding": np.random.default_rng(0).bytes(12 << 20)})
    desk.hub.files[FILE] = big
    desk.manifest()
    desk.hub.cut = 11 << 20
    # This client resumes within the call; an older one at the next.
    for _ in range(2):
        requests = []
        code, _ = desk.fetch()
        requests += desk.hub.requests
        if code == 0:
            break
    assert desk.is_right()
    assert any("bytes=" in request for request in requests)


def test_a_corrupt_body_of_the_right_length_is_fetched_again(desk):
    desk.hub.corrupt = 1
    assert desk.fetch()[0] == 0
    assert desk.hub.requests.count(f"GET {FILE}") == 2
    assert desk.is_right()


def test_what_is_wrong_for_good_is_thrown_away(desk):
    desk.fetch()
    before = desk.tree()
    desk.manifest(sha256="0" * 64)
    code, message = desk.fetch()
    assert code == 2
    assert f"not {'0' * 64}; it was deleted" in message
    assert desk.tree() == before
    assert not list(desk.home.rglob("blobs/*"))
    desk.manifest()
    assert desk.fetch()[0] == 0
    assert desk.is_right()


@pytest.mark.parametrize("fail", [1, 8])
def test_server_errors_pass(desk, fail):
    """The client itself tries again up to six times; what it then gives up is tried again from the start."""
    desk.hub.fail = fail
    assert desk.fetch()[0] == 0
    assert desk.is_right()
    assert ("trying again in 5 s (1 of 2)" in desk.said) == (fail > 6)


@pytest.mark.parametrize("refuse", [(401, "GatedRepo"), (404, "EntryNotFound")])
def test_what_is_refused_for_good_is_not_asked_again(desk, refuse):
    desk.hub.refuse = refuse
    assert desk.fetch()[0] == 2
    assert "trying again" not in desk.said and len(desk.hub.requests) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sets/Mine/test_LR/../../../../evil.png": b"x"}, "is not an image right in its folder"),
        ({"sets/Mine/test_LR/deeper/a.png": b"x"}, "is not an image right in its folder"),
        ({"sets/Mine/test_LR/..\\evil.png": b"x"}, "is not an image right in its folder"),
        ({"sets/Mine/test_LR/a.jpg": b"x"}, "have one stem"),
        ({"sets/Mine/test_HR/d.png": png(32, 5)}, "only in one of LR and HR: d"),
        ({"sets/Mine/test_HR/c.png": None}, "only in one of LR and HR: c"),
        (
            dict.fromkeys(("sets/Mine/test_HR/c.png", "sets/Mine/test_LR/c.png")),
            "holds 2 images, where",
        ),
        ({"sets/Mine/test_HR/c.png": png(16, 5)}, "HR must be exactly 4 times as large"),
        ({"sets/Mine/test_HR/c.png": b"no image"}, "not a readable image"),
    ],
)
def test_a_wrong_archive_changes_nothing(desk, changes, message):
    members = {name: data for name, data in (MEMBERS | changes).items() if data is not None}
    desk.hub.files[FILE] = archive(members)
    desk.manifest()
    code, line = desk.fetch()
    assert code == 2
    assert message in line
    assert desk.tree() == {}
    assert not list(desk.datasets.parent.rglob("evil*"))


def test_a_damaged_archive_is_said_so(tmp_path):
    path = tmp_path / "x.zip"
    whole = archive(MEMBERS)
    (tmp_path / "LR").mkdir()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"x\.zip: a damaged archive"):
            extract(path, {"LR": "sets/Mine/test_LR/"}, tmp_path)


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
