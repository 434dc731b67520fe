"""A published base from a hub on loopback, by the command line."""

import contextlib
import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from framer.provenance.cards import read_card, verify_payload
from framer.scoring.definitions import Definitions
from framer.weights.manifest import WeightsManifest
from tests.fixtures.clone import ROOT
from tests.fixtures.hub import command, hub_client
from tests.hub.hub_server import COMMIT, Hub

REPO = "team/pipeline"
FILES = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": bytes(range(256)) * 40,
    "unet/diffusion_pytorch_model.bin": b"a pickle",
    "v2-1.safetensors": b"all in one file, for other programs",
}
MODEL = {
    "config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors.index.json": b'{"weight_map": {"a": "1-of-2.safetensors", "b": "2-of-2.safetensors"}}',
    "1-of-2.safetensors": b"1" * 300,
    "2-of-2.safetensors": b"2" * 300,
    "pytorch_model.bin": b"a pickle",
}
"""A model of transformers, as captions are made by."""


def fetch(hub: Hub, folder: Path, repo: str = REPO, **environment: str) -> tuple[int, str]:
    """Exit code and last line of stderr of `framer fetch --weights`."""
    with hub_client(hub.url, folder / "home", **environment), contextlib.chdir(folder):
        code, said = command("fetch", "--weights", repo)
    return code, (said.splitlines() or [""])[-1]


def test_a_base_is_brought_and_hashed(tmp_path: Path) -> None:
    with Hub(REPO, FILES).serve() as hub:
        assert fetch(hub, tmp_path) == (0, "")
    out = tmp_path / "weights" / "team--pipeline"
    card = read_card(out, "base")
    verify_payload(out, card)
    wanted = {name: data for name, data in FILES.items() if not name.endswith(".bin") and not name.startswith("v2")}
    assert card["payload"] == {name: hashlib.sha256(data).hexdigest() for name, data in wanted.items()}
    assert card["commit"] == COMMIT
    assert not list(out.rglob("*.bin")), "pickles stay where they are"
    assert not list(out.glob("*.safetensors")), "and so does what is not read"


def test_a_model_of_transformers_is_brought_with_its_weights_at_the_root(tmp_path: Path) -> None:
    with Hub(REPO, MODEL).serve() as hub:
        assert fetch(hub, tmp_path) == (0, "")
    card = read_card(tmp_path / "weights" / "team--pipeline", "base")
    assert card["payload"].keys() == MODEL.keys() - {"pytorch_model.bin"}


@pytest.mark.parametrize(
    ("files", "without", "message"),
    [
        (MODEL, "", ""),
        (MODEL, "2-of-2.safetensors", "2-of-2.safetensors is missing, which its model.safetensors.index.json"),
        ({"config.json": b"{}", "model.safetensors": b"x"}, "", ""),
        (
            {"config.json": b"{}", "model.safetensors": b"x"},
            "model.safetensors",
            "model.safetensors is missing; copy it",
        ),
        (MODEL | {"model.safetensors.index.json": b"[]"}, "", "model.safetensors.index.json: damaged"),
    ],
)
def test_a_model_that_was_put_there_is_bound(tmp_path: Path, files, without: str, message: str) -> None:
    out = tmp_path / "weights" / "team--pipeline"
    out.mkdir(parents=True)
    for name, data in files.items():
        if name != without:
            (out / name).write_bytes(data)
    with Hub(REPO, {}).serve() as hub:
        code, line = fetch(hub, tmp_path)
        assert hub.requests == []
    assert (code, message in line) == (2 if message else 0, True)
    if not message:
        assert read_card(out, "base")["payload"].keys() == files.keys() - {"pytorch_model.bin"}


def test_a_second_fetch_writes_the_same_card(tmp_path: Path) -> None:
    with Hub(REPO, FILES).serve() as hub:
        assert fetch(hub, tmp_path)[0] == 0
        card = (tmp_path / "weights/team--pipeline/card.json").read_bytes()
        assert fetch(hub, tmp_path)[0] == 0
    assert (tmp_path / "weights/team--pipeline/card.json").read_bytes() == card


@pytest.mark.parametrize(
    ("refuse", "repo", "files", "words"),
    [
        ((403, "GatedRepo"), REPO, FILES, "gated; accept its terms on the hub"),
        (None, "team/other", FILES, "no such model on the hub"),
        (None, REPO, {"README.txt": b"empty"}, "has no safetensors weights"),
        ((500, ""), REPO, FILES, "the server answered 500"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, refuse, repo: str, files: dict[str, bytes], words: str) -> None:
    with Hub(REPO, files, refuse=refuse).serve() as hub:
        code, line = fetch(hub, tmp_path, repo)
    assert code == 2
    assert line.startswith(f"framer: error: {repo}@main: ")
    assert words in line
    assert not list(tmp_path.rglob("card.json"))


def test_a_server_that_fails_for_a_while_is_asked_again(tmp_path: Path) -> None:
    """A failed answer to the listing is tried again by the client, and one that it gives up by us."""
    with Hub(REPO, FILES, fail=20).serve() as hub:
        assert fetch(hub, tmp_path)[0] == 0
        assert hub.fail == 0
    assert (tmp_path / "weights" / "team--pipeline" / "card.json").is_file()


@pytest.mark.parametrize(
    "answer", [b"{nonsense", b"[1, 2]", b'{"a": 1}', b'{"id": "team/pipeline", "siblings": []}', b"1", b"null", b""]
)
def test_a_description_that_is_no_hubs_is_one_line(tmp_path: Path, answer: bytes) -> None:
    with Hub(REPO, FILES, api=answer).serve() as hub:
        code, line = fetch(hub, tmp_path)
        assert f"{REPO}@main: {hub.url} does not answer as a hub does" in line
    assert code == 2
    assert not list(tmp_path.rglob("card.json"))


@pytest.mark.parametrize("repo", ["a..b/c", "a/b..c", "a/" + "x" * 100, "a_/b-", "a/b.git"])
def test_a_name_that_no_repository_has_is_one_line(tmp_path: Path, repo: str) -> None:
    with Hub(REPO, FILES).serve() as hub:
        code, line = fetch(hub, tmp_path, repo)
    assert code == 2
    assert line.startswith("framer: error: --weights: ")


def test_a_small_file_with_another_git_id_is_thrown_away(tmp_path: Path) -> None:
    with Hub(REPO, FILES, git=True).serve() as hub:
        hub.corrupt = 10
        assert "another hash than the hub states" in fetch(hub, tmp_path)[1]
        hub.corrupt = 0
        assert fetch(hub, tmp_path)[0] == 0
    out = tmp_path / "weights" / "team--pipeline"
    assert (out / "model_index.json").read_bytes() == FILES["model_index.json"]


def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    with Hub(REPO, FILES).serve() as hub:
        code, line = fetch(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert code == 2
    assert "run again with a network" in line


def write_manifest(folder: Path, **keys: object) -> None:
    (folder / "weights").mkdir(exist_ok=True)
    path = folder / "weights" / f"{keys['id']}.yaml"
    path.write_text(yaml.safe_dump({"title": "Mine", "license": "none", "gated": False} | keys))


def test_a_mirror_is_asked_when_the_first_repository_is_gone(tmp_path: Path) -> None:
    write_manifest(tmp_path, id="gone--base", pipeline=["hf://gone/base", f"hf://{REPO}"])
    with Hub(REPO, FILES).serve() as hub:
        assert fetch(hub, tmp_path, "gone/base") == (0, "")
        assert read_card(tmp_path / "weights" / "gone--base", "base")["repo"] == REPO
        # What is there is only verified.
        hub.requests.clear()
        assert fetch(hub, tmp_path, "gone/base")[0] == 0
        assert hub.requests == []


def test_a_corrupt_file_of_a_pipeline_is_thrown_away(tmp_path: Path) -> None:
    files = {"unet/diffusion_pytorch_model.safetensors": FILES["unet/diffusion_pytorch_model.safetensors"]}
    with Hub(REPO, files, corrupt=1).serve() as hub:
        code, line = fetch(hub, tmp_path)
        assert code == 2
        assert "another hash than the hub states" in line
        assert not list(tmp_path.rglob("card.json"))
        assert fetch(hub, tmp_path)[0] == 0


def test_single_files_are_brought_hashed_and_kept(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9
    file = {"path": "hub/pyiqa/x.pth", "at": [f"hf://{REPO}/x.pth"], "sha256": hashlib.sha256(data).hexdigest()[:8]}
    write_manifest(tmp_path, id="metric", files=[file])
    path = tmp_path / "weights" / "hub" / "pyiqa" / "x.pth"
    with Hub(REPO, {"x.pth": data}, corrupt=1).serve() as hub:
        assert fetch(hub, tmp_path, "metric") == (0, "")
        assert path.read_bytes() == data
        assert hub.requests.count("GET x.pth") == 2
        path.write_bytes(b"something else")
        code, line = fetch(hub, tmp_path, "metric")
        assert code == 2
        assert "x.pth: its SHA-256 is" in line
        path.unlink()
        # The card of the first fetch binds; the file itself comes from the client's cache.
        assert fetch(hub, tmp_path, "metric", HF_HUB_OFFLINE="1")[0] == 0
        assert path.read_bytes() == data


def test_a_manual_file_names_its_source_and_is_then_recorded(tmp_path: Path) -> None:
    write_manifest(tmp_path, id="lora", where=["a shelf"], note="ask nicely", files=[{"path": "lora/x.pkl", "at": []}])
    with Hub(REPO, {}).serve() as hub:
        code, line = fetch(hub, tmp_path, "lora")
        assert code == 2
        assert "download weights/lora/x.pkl manually" in line
        assert "a shelf" in line
        (tmp_path / "weights" / "lora").mkdir()
        (tmp_path / "weights" / "lora" / "x.pkl").write_bytes(b"first")
        assert fetch(hub, tmp_path, "lora")[0] == 0
        (tmp_path / "weights" / "lora" / "x.pkl").write_bytes(b"other")
        code, line = fetch(hub, tmp_path, "lora")
        assert code == 2
        assert "its sha256 is not the one in" in line


def test_a_hash_that_nobody_published_is_accepted_once_and_binds(tmp_path: Path) -> None:
    write_manifest(tmp_path, id="net", loader="spandrel", files=[{"path": "net/x.pth", "at": [f"hf://{REPO}/x.pth"]}])
    path, data = tmp_path / "weights" / "net" / "x.pth", b"weights"
    sha256 = hashlib.sha256(data).hexdigest()
    hub, there = Hub(REPO, {"x.pth": data}), contextlib.chdir(tmp_path)
    with hub.serve(), hub_client(hub.url, tmp_path / "home"), there:
        code, line = command("fetch", "--weights", "net")
        assert (code, path.exists(), hub.requests) == (2, False, [])
        assert "no SHA-256 of it is published; to trust it, run: framer fetch --weights net --accept-hash" in line
        code, line = command("fetch", "--weights", "net", "--accept-hash")
        assert (code, sha256 in line) == (0, True)
        assert read_card(path.parent, "weights")["hash"] == "not published"
        assert path.with_name("x.pth.sha256").read_text() == f"{sha256}  x.pth\n"
        path.unlink()  # the lock stays, and so do its terms
        assert command("fetch", "--weights", "net")[0] == 0
    (path.parent / "card.json").unlink()
    path.unlink()
    hub = Hub(REPO, {"x.pth": b"others!"})
    with hub.serve(), hub_client(hub.url, tmp_path / "other home"), there:
        for option in ([], ["--accept-hash"]):
            code, line = command("fetch", "--weights", "net", *option)
            assert (code, path.exists()) == (2, False)
            assert f"not {sha256}" in line


def test_a_file_without_address_and_hash_is_asked_for_before_its_hash(tmp_path: Path) -> None:
    files = [{"path": "net/x.pth", "at": []}]
    write_manifest(tmp_path, id="net", loader="spandrel", files=files, where=["my disk"])
    with contextlib.chdir(tmp_path):
        code, line = command("fetch", "--weights", "net")
        manual = (
            "net: download weights/net/x.pth manually, then run: framer fetch --weights net --accept-hash (my disk)"
        )
        assert (code, manual in line) == (2, True)
        Path("weights/net").mkdir()
        Path("weights/net/x.pth").write_bytes(b"weights")
        code, line = command("fetch", "--weights", "net")
        assert (code, hashlib.sha256(b"weights").hexdigest() in line) == (2, True)
        assert command("fetch", "--weights", "net", "--accept-hash")[0] == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "weights").glob("*.yaml")))
def test_every_manifest_of_the_project_is_valid(name: str) -> None:
    assert WeightsManifest.load(name, ROOT / "weights").id == name


def test_every_metric_with_a_network_names_its_manifests() -> None:
    """For every choice that a protocol file has, not only those of the protocols here."""
    needed = set()
    for key, field in Definitions.model_fields.items():
        model = get_args(field.annotation)[0]
        choices = {name: get_args(one.annotation) or (0,) for name, one in model.model_fields.items()}
        for values in itertools.product(*choices.values()):
            definitions = Definitions.model_validate({key: dict(zip(choices, values, strict=True))})
            needed |= set(definitions.metrics[0].weights)
    known = {name for name in WeightsManifest.known(ROOT / "weights") if "--" not in name}
    restoring = {name for name in known if WeightsManifest.load(name, ROOT / "weights").loader}
    assert needed == known - restoring - {"pisa_sr"}


def test_the_default_captioner_has_a_manifest() -> None:
    from framer.inference.caption import MODEL as CAPTIONER

    assert CAPTIONER.replace("/", "--") in WeightsManifest.known(ROOT / "weights")


def test_the_weights_of_a_protocol_are_found_by_its_metrics() -> None:
    def lacking(*metrics: str) -> list[str]:
        command = [sys.executable, "-m", "framer", "fetch", "--check", "--protocol", "osediff", *metrics]
        env = os.environ | {"FRAMER_WEIGHTS": "/nowhere"}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
        assert done.returncode == 1, done.stderr
        return [name for name in WeightsManifest.known(ROOT / "weights") if name in done.stdout.split()]

    assert lacking("--metrics", "psnr,niqe") == ["niqe"]
    assert {"lpips-alex", "maniqa-pipal", "musiq-koniq", "niqe"} < set(lacking())
    assert "maniqa-koniq" not in lacking()
