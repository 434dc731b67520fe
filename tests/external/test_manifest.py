"""Manifests of other people's methods, and the commands that they become."""

import os
import subprocess
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
        (
            {"environment": {"kind": "conda", "file": "e.yaml", "editable": ["git+https://a@main#egg=a"]}},
            "environment",
            "@COMMIT",
        ),
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
    addresses = [f"git+https://example.com/{name}@{'1' * 40}#egg={name}" for name in "ab"]
    beside = {"kind": "conda", "file": "environment.yaml", "editable": addresses}
    (create, install) = build_commands(written(tmp_path, environment=beside), tmp_path)
    assert create[:3] == ["conda", "env", "create"]
    assert install[0] == f"{env}/env/bin/python"
    assert install[-6:] == ["--src", f"{env}/src", "--editable", addresses[0], "--editable", addresses[1]]
    container = written(tmp_path, environment={"kind": "container", "image": IMAGE})
    assert isinstance(container.environment, Container)
    assert build_commands(container, tmp_path) == [["apptainer", "pull", f"{env}/image.sif", IMAGE]]
    command = run_command(container, ["python", "x"], tmp_path / "work", tmp_path)
    assert command[:5] == ["apptainer", "exec", "--nv", "--bind", f"{tmp_path}/work"]
    assert command[-3:] == [f"{env}/image.sif", "python", "x"]


def ran(name: str, where: Path) -> list[str]:
    """The arguments of the script that a manifest of the project starts, with `where` as its repository."""
    (where / "bin").mkdir()
    python = where / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > arguments\n')
    python.chmod(0o755)
    manifest = MethodManifest.load(name, ROOT / "methods")
    words = manifest.words({"lr": where / "l r", "out": where / "out", "seed": 3, "weights": where / "the weights"})
    variables = os.environ | {"PATH": f"{where}/bin:{os.environ['PATH']}"}
    subprocess.run(words, cwd=where, env=variables, check=True)
    return (where / "arguments").read_text().splitlines()


def put_weights(name: str, where: Path) -> None:
    for file in WeightsManifest.load(name, ROOT / "weights").files:
        (where / "the weights" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (where / "the weights" / file.path).write_text(file.path)


def test_resshift_finds_its_weights_where_its_script_looks(tmp_path: Path) -> None:
    """It takes no path of them, and downloads those that do not lie there."""
    put_weights("resshift", tmp_path)
    script, *options = ran("resshift", tmp_path)
    assert script == "inference_resshift.py"
    assert options[:4] == ["-i", f"{tmp_path}/l r", "-o", f"{tmp_path}/out"]
    for name in ("resshift_realsrx4_s15.pth", "autoencoder_vq_f4.pth"):
        assert (tmp_path / "weights" / name).read_text() == f"resshift/{name}"


def test_stablesr_reads_all_that_it_would_download(tmp_path: Path) -> None:
    put_weights("stablesr", tmp_path)
    text, decoder = "stableSRNew/v2-finetune_text_T_512.yaml", "autoencoder/autoencoder_kl_64x64x4_resi.yaml"
    configs = {
        text: {"cond_stage_config": {"params": {"freeze": True, "layer": "penultimate"}}},
        decoder: {"lossconfig": {"target": "ldm.modules.losses.LPIPSWithDiscriminator", "params": {"disc_start": 501}}},
    }
    for name, config in configs.items():
        (tmp_path / "configs" / name).parent.mkdir(parents=True)
        # Quoted, and indented by two, as it is there.
        lines = yaml.safe_dump({"model": {"params": config}}).replace("penultimate", '"penultimate"')
        (tmp_path / "configs" / name).write_text(lines)
    arguments = ran("stablesr", tmp_path)
    found = {name: yaml.safe_load((tmp_path / "configs" / name).read_text())["model"]["params"] for name in configs}
    version = found[text]["cond_stage_config"]["params"].pop("version")
    assert found[text] == configs[text]
    assert found[decoder]["lossconfig"] == {"target": "torch.nn.Identity", "params": {"disc_start": 501}}
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert options["--init-img"] == f"{tmp_path}/l r"
    for path in (version, options["--ckpt"], options["--vqgan_ckpt"]):
        assert (tmp_path / path).read_text() == f"stablesr/{Path(path).name}"
