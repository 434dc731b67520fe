"""Manifests of other people's methods, and the commands that they become."""

from pathlib import Path

import pytest
import yaml

from framer.errors import UserError
from framer.external.made import build_commands, run_command
from framer.external.manifest import Container, MethodManifest
from framer.weights.manifest import WeightsManifest
from tests.fixtures.clone import ROOT

MINE = {
    "id": "mine",
    "title": "Mine",
    "license": "none",
    "repository": "https://example.com/mine",
    "commit": "0" * 40,
    "environment": {"kind": "venv", "requirements": "mine.txt"},
    "command": "python run.py --in {lr} --out {out} --seed {seed}",
    "run_here": False,
}
IMAGE = "docker://example.com/mine@sha256:" + "a" * 64


def written(folder: Path, **keys: object) -> MethodManifest:
    (folder / "mine.yaml").write_text(yaml.safe_dump(MINE | keys))
    return MethodManifest.load("mine", folder)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "methods").glob("*.yaml")))
def test_every_manifest_of_the_project_is_valid(name: str) -> None:
    manifest = MethodManifest.load(name, ROOT / "methods")
    for weights in manifest.weights:
        WeightsManifest.load(weights, ROOT / "weights")
    places = {"lr": "/LR", "out": "/OUT", "seed": 3, "weights": "/W"}
    assert {"/LR", "/OUT"} <= {word.partition("=")[2] or word for word in manifest.words(places)}
    assert not manifest.run_here, "nobody has yet"


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"command": "run {lr} {outt}"}, "command", "did you mean '{out}'"),
        ({"command": "run {lr}"}, "command", "has no {out}"),
        ({"command": "run '{lr} {out}"}, "command", "not a command"),
        ({"commit": "main"}, "commit", "40 hexadecimal digits"),
        ({"environment": {"kind": "container", "image": "docker://a/b:latest"}}, "environment", "@sha256:"),
        ({"environment": {"kind": "conda", "requirements": "r.txt"}}, "environment", "give 'file', or 'python'"),
        ({"environment": {"kind": "venv", "requirements": "../r.txt"}}, "environment", "below"),
    ],
)
def test_a_mistake_names_its_key(tmp_path: Path, keys, key: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        written(tmp_path, **keys)
    assert str(caught.value.key).startswith(key)
    assert words in str(caught.value)


def test_words_are_never_split_or_run_by_a_shell(tmp_path: Path) -> None:
    manifest = written(tmp_path, command="sh -c 'run {lr}' {out}")
    assert manifest.words({"lr": "/a b; rm", "out": "/o $x"}) == ["sh", "-c", "run /a b; rm", "/o $x"]


def test_conda_and_containers_are_made_and_run_by_their_programs(tmp_path: Path) -> None:
    clone, env = tmp_path / "mine/clone/repository", tmp_path / "mine/environment"
    conda = written(tmp_path, environment={"kind": "conda", "file": "environment.yaml"})
    assert build_commands(conda, tmp_path) == [
        ["conda", "env", "create", "--yes", "--prefix", f"{env}/env", "--file", f"{clone}/environment.yaml"]
    ]
    assert run_command(conda, ["python", "x"], tmp_path, tmp_path) == ["python", "x"]
    by_pip = written(tmp_path, environment={"kind": "conda", "python": "3.8", "requirements": "r.txt"})
    create, install = build_commands(by_pip, tmp_path)
    assert create == ["conda", "create", "--yes", "--prefix", f"{env}/env", "python=3.8", "pip"]
    assert install[0] == f"{env}/env/bin/python"
    assert install[-2:] == ["--requirement", f"{clone}/r.txt"]
    container = written(tmp_path, environment={"kind": "container", "image": IMAGE})
    assert isinstance(container.environment, Container)
    assert build_commands(container, tmp_path) == [["apptainer", "pull", f"{env}/image.sif", IMAGE]]
    command = run_command(container, ["python", "x"], tmp_path / "work", tmp_path)
    assert command[:5] == ["apptainer", "exec", "--nv", "--bind", f"{tmp_path}/work"]
    assert command[-3:] == [f"{env}/image.sif", "python", "x"]
