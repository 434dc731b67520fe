"""Images, runs and archives that are damaged or hostile, and hubs that misbehave."""

import io
import json
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from framer.provenance.hashing import sha256_file
from tests.fixtures.finished_study import MANIFEST
from tests.fixtures.hub import hub_client
from tests.fixtures.untrained import write_run
from tests.fuzz.harness import CASES, cases, held, mutated, value_changed
from tests.hub.hub_server import Hub


def image(side: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


KINDS = {kind: {side: image(side, kind) for side in (12, 48)} for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")}


def test_images(tmp_path: Path) -> None:
    def one(rng: random.Random, folder: Path) -> int:
        kind = rng.choice(list(KINDS))
        for part, side in (("lr", 12), ("sr", 48)):
            (folder / part).mkdir()
            (folder / part / "a.png").write_bytes(KINDS["PNG"][side])
        (folder / "sr" / "a.png").write_bytes(mutated(KINDS[kind][48], rng))
        return held(folder, ("import-images", "--images", "sr", "--lr", "lr", "--out", "out"), "sr", writes="out")

    cases("images", one, tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), "pisa_sr")


class _Shout:
    """A pickle that runs code."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("it ran",)


def test_runs_and_pickles(tmp_path: Path, run: Path) -> None:
    def one(rng: random.Random, folder: Path) -> int:
        shutil.copytree(run.parents[1], folder / "made")
        broken = folder / "made" / rng.choice(("runs", "bases")) / "pisa_sr"
        path = broken / rng.choice(("card.json", "config.json", "model.safetensors"))
        if path.suffix == ".json":
            text = value_changed(path.read_text(), rng) if rng.random() < 0.7 else None
            path.write_bytes(mutated(path.read_bytes(), rng) if text is None else text.encode("latin-1"))
        elif rng.random() < 0.3:
            torch.save(_Shout(), path)
        else:
            head = path.read_bytes()
            path.write_bytes(mutated(head[:400], rng) + head[400:])
        if path.name != "card.json":
            card = json.loads((broken / "card.json").read_text())
            card["payload"][path.name] = sha256_file(path)
            (broken / "card.json").write_text(json.dumps(card))
        (folder / "lr").mkdir()
        (folder / "lr" / "a.png").write_bytes(KINDS["PNG"][12])
        arguments = ("restore", "--checkpoint", "made/runs/pisa_sr", "--lr", "lr", "--out", "out", "--threads", "1")
        return held(folder, arguments, None, writes="out")

    cases("runs and pickles", one, tmp_path, 1 + CASES // 3)


def packed(rng: random.Random) -> tuple[str, bytes]:
    """A valid archive of two pairs: its name and bytes."""
    members = {f"s/{part}/{name}.png": KINDS["PNG"][side] for part, side in (("LR", 12), ("HR", 48)) for name in "ab"}
    file = io.BytesIO()
    if rng.random() < 0.5:
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
        with zipfile.ZipFile(file, "w", method) as zipped:
            for name, data in members.items():
                zipped.writestr(name, data)
        return "x.zip", file.getvalue()
    mode, suffix = rng.choice((("w", "tar"), ("w:gz", "tgz"), ("w:xz", "tar"), ("w:bz2", "tar")))
    with tarfile.open(fileobj=file, mode=mode) as tape:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tape.addfile(info, io.BytesIO(data))
    return f"x.{suffix}", file.getvalue()


def test_archives(tmp_path: Path) -> None:
    def one(rng: random.Random, folder: Path) -> int:
        (folder / "datasets" / "mine").mkdir(parents=True)
        (folder / "datasets" / "mine.yaml").write_text(MANIFEST.format(id="mine", count=2))
        name, data = packed(rng)
        (folder / "datasets" / "mine" / name).write_bytes(mutated(data, rng))
        before = (folder / "datasets" / "mine" / name).read_bytes()
        code = held(folder, ("fetch", "mine"), "mine", writes="datasets/mine")
        assert (folder / "datasets" / "mine" / name).read_bytes() == before
        return code

    cases("archives", one, tmp_path)


def test_hubs(tmp_path: Path) -> None:
    def one(rng: random.Random, folder: Path) -> int:
        name, data = packed(random.Random(0))
        file = {"at": [f"hf://datasets/a/b/{name}"], "size": rng.choice((None, len(data))), "sha256": None}
        manifest = yaml.safe_load(MANIFEST.format(id="mine", count=2))
        manifest["sources"] = [{"kind": "archive", "files": [file], "members": {"LR": "s/LR/", "HR": "s/HR/"}}]
        (folder / "datasets").mkdir()
        (folder / "datasets" / "mine.yaml").write_text(yaml.safe_dump(manifest))
        served = data if rng.random() < 0.5 else mutated(data, rng)
        hub = Hub("a/b", {name: served}, git=rng.random() < 0.5)
        match rng.randrange(6):
            case 0:
                hub.refuse = (
                    rng.choice((400, 401, 403, 404, 407, 410, 418, 429, 500, 503)),
                    rng.choice(("", "GatedRepo", "RepoNotFound", "EntryNotFound", "RevisionNotFound", "Nonsense")),
                )
            case 1:
                hub.page = rng.choice((b"<html>", b"", b"{}", b"x" * 5000))
            case 2:
                hub.corrupt = rng.choice((1, 9))
            case 3:
                hub.cut = rng.randrange(len(data))
            case 4:
                hub.fail = rng.choice((1, 3, 99))
        with hub.serve(), hub_client(hub.url, folder.parent / f"home-{folder.name}"):
            return held(folder, ("fetch", "mine"), None, writes="datasets/mine")

    cases("hubs", one, tmp_path)
