"""The real hub client against a hub on loopback, by the command line."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.fixtures.hub import command, hub_client
from tests.fixtures.socks import socks_proxy
from tests.hub.hub_server import COMMIT, Hub

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
        keys = {"id": "mine", "title": "Mine", "license": "none", "paired": True, "scale": 4, "count": 3}
        (self.datasets / "mine.yaml").write_text(yaml.safe_dump({**keys, "sources": [source, *more]}))

    def fetch(self, **environment: str) -> tuple[int, str]:
        """Exit code and last line of stderr of `framer fetch mine`."""
        self.hub.requests.clear()
        with hub_client(self.hub.url, self.home, **environment):
            code, self.said = command("fetch", "mine", "--datasets", self.datasets)
        return code, (self.said.splitlines() or [""])[-1]

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
    assert desk.hub.requests == [f"HEAD {FILE}"] * 2 + [f"GET {FILE}"]
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
        "again in 0 s (1 of 2)",
        "again in 0 s (2 of 2)",
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
        ((401, ""), "the server answered 401 (Unauthorized): HF_TOKEN is not valid"),
        ((403, ""), "the server answered 403 (Forbidden): access is refused; accept its terms"),
        ((407, ""), "the server answered 407 (Proxy Authentication Required): the proxy requires a login"),
        ((429, ""), "the server answered 429 (Too Many Requests): too many requests; wait some minutes"),
        ((503, ""), "the server answered 503 (Service Unavailable): the server failed; run again later"),
    ],
)
def test_what_the_hub_refuses_is_one_line(desk, refuse, message):
    desk.hub.refuse = refuse
    code, line = desk.fetch()
    assert code == 2
    assert f"{REPO}: {FILE}: {message}" in line
    assert desk.tree() == {}


def test_what_is_no_hub_is_named(desk):
    desk.hub.page = b"<html>Sign in</html>"
    code, line = desk.fetch()
    assert code == 2
    assert f"{desk.hub.url} does not answer as a hub does" in line
    assert desk.tree() == {}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HF_ENDPOINT": "127.0.0.1:9"}, "HF_ENDPOINT: '127.0.0.1:9' has no scheme; write https://HOST"),
        ({"HF_TOKEN": "geheim\u00e4"}, "HF_TOKEN: holds other than ASCII"),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "SSL_CERT_FILE: /nowhere.pem does not exist"),
        ({"HTTP_PROXY": "ftp://u:geheim@h:1", "NO_PROXY": ""}, "ftp://h:1"),
        ({"HTTP_PROXY": "http://u:geheim@127.0.0.1:9", "NO_PROXY": ""}, "out of reach"),
        ({"ALL_PROXY": "http://u:geheim@127.0.0.1:9", "NO_PROXY": ""}, "out of reach"),
        ({"HF_ENDPOINT": "http://u:geheim@127.0.0.1:9"}, "out of reach"),
    ],
)
def test_settings_of_the_network_that_cannot_work_are_named(desk, environment, message):
    code, line = desk.fetch(**environment)
    assert code == 2
    assert message in line
    assert "geheim" not in desk.said
    assert desk.tree() == {}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_hosts_of_no_proxy_are_asked_directly(desk, name):
    assert desk.fetch(**{name: "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"})[0] == 0
    assert desk.is_right()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_is_used(desk, scheme):
    with socks_proxy() as (address, asked):
        assert desk.fetch(ALL_PROXY=f"{scheme}://{address}", NO_PROXY="")[0] == 0
    assert {*asked} == {("127.0.0.1", int(desk.hub.url.rpartition(":")[2]))}
    assert desk.is_right()


def test_a_small_file_is_compared_by_its_git_id(desk):
    desk.hub.git, desk.hub.corrupt = True, 1
    desk.manifest(sha256=None)
    assert desk.fetch()[0] == 0
    assert desk.hub.requests.count(f"GET {FILE}") == 2
    assert desk.is_right()


def test_a_page_in_the_cache_is_thrown_away(desk):
    """A hub that once served a page, under the page's own hash."""
    right = desk.hub.files[FILE]
    desk.hub.files[FILE] = b"\n<!DOCTYPE html><title>Sign in</title>"
    desk.manifest(size=None, sha256=None)
    assert desk.fetch()[0] == 2
    desk.hub.files[FILE] = right
    assert desk.fetch()[0] == 0
    assert desk.is_right()


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


def test_server_errors_pass(desk):
    desk.hub.fail = 2
    assert desk.fetch()[0] == 0
    assert desk.is_right()
    assert "500 (Internal Server Error)" in desk.said
    assert [line.split("; trying ")[1] for line in desk.said.splitlines()[:2]] == [
        "again in 0 s (1 of 2)",
        "again in 0 s (2 of 2)",
    ]


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
        ({"sets/Mine/test_LR/a.jpg": b"x", "sets/Mine/test_LR/c.png": None}, "have one stem"),
        ({"sets/Mine/test_LR/a.jpg": b"x"}, "'sets/Mine/test_LR/a.jpg' is one image of LR more than the 3"),
        ({"sets/Mine/test_HR/d.png": png(32, 5), "sets/Mine/test_HR/c.png": None}, "only in one of LR and HR: c, d"),
        ({"sets/Mine/test_HR/c.png": None}, "only in one of LR and HR: c"),
        (
            dict.fromkeys(("sets/Mine/test_HR/c.png", "sets/Mine/test_LR/c.png")),
            "holds 2 images, where",
        ),
        ({"sets/Mine/test_HR/c.png": png(16, 5)}, "HR must be exactly 4 times LR"),
        ({"sets/Mine/test_HR/c.png": b"no image"}, "not a PNG, JPEG, WEBP, BMP, TIFF image"),
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
