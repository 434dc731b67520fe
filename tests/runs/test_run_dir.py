"""Folders of bases and runs: a damaged one is refused in one line that names the file and the key."""

import json
import shutil

import pytest
import torch

from framer.errors import UserError
from framer.runs.run_dir import CONFIG, load_run
from tests.fixtures.untrained import edit_json, write_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    write_run(root, "pisa_sr")
    return root


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "root")
    return tmp_path / "root/runs/pisa_sr"


def changed(config, key, value):
    """The configuration with the value of a dotted key replaced; None removes the key."""
    *path, last = key.split(".")
    at = config
    for part in path:
        at = at[part]
    at.pop(last)
    if value is not None:
        at[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("base", None, "base"),
        ("base", [], "base"),
        ("base.path", None, "base.path"),
        ("base.path", "../nowhere", "base.path"),
        ("base.sha256", 5, "base.sha256"),
        ("base.sha256", "0" * 64, "base.sha256"),
        ("stages", None, "stages"),
        ("stages", 3, "stages"),
        ("stages", "pixel", "stages"),
        ("stages", ["pixle"], "stages"),
        ("settings", [1], "settings"),
        ("settings", {"zz": 1}, "settings"),
        ("settings", {"rank_pix": 10**12}, "settings"),
        ("backbone", "pisa", "settings"),
        ("config", "text", "config"),
    ],
)
def test_a_damaged_configuration_names_file_and_key(run, key, value, named):
    edit_json(run, CONFIG, changed(json.loads((run / CONFIG).read_text()), key, value))
    with pytest.raises(UserError) as error:
        load_run(run)
    assert error.value.path == str(run / CONFIG)
    assert error.value.key == named
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["text", {}, {"codec": 5}, {"unet": {"block_out_channels": "x"}, "codec": {}}])
def test_a_base_whose_model_cannot_be_built(run, value):
    base = run.parents[1] / "bases/pisa_sr"
    edit_json(base, CONFIG, changed(json.loads((base / CONFIG).read_text()), "config", value))
    with pytest.raises(UserError) as error:
        load_run(run)
    assert (error.value.path, error.value.key) == (str(base / CONFIG), "config")
    assert "\n" not in str(error.value)


DEEP = "[" * 100_000


@pytest.mark.parametrize("name", [CONFIG, "card.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", DEEP, "\x00"])
def test_what_is_no_json_object(run, name, content):
    edit_json(run, name, content)
    with pytest.raises(UserError) as error:
        load_run(run)
    assert error.value.path == str(run / name)
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("card", "key"),
    [
        ({"kind": "run"}, "payload"),
        ({"kind": "run", "payload": None}, "payload"),
        ({"kind": "run", "payload": {}}, "payload"),
        ({"kind": "run", "payload": ["a"]}, "payload"),
        ({"kind": "run", "payload": {"a": 1}}, "payload"),
        ({"kind": "run", "payload": {"../../bases/pisa_sr/config.json": "0"}}, "payload"),
        ({"payload": {}}, "kind"),
        ({"kind": "base", "payload": {"a": "0"}}, "kind"),
    ],
)
def test_a_damaged_card_names_file_and_key(run, card, key):
    edit_json(run, "card.json", card)
    with pytest.raises(UserError) as error:
        load_run(run)
    assert (error.value.path, error.value.key) == (str(run / "card.json"), key)


def test_a_whole_run_is_read(run):
    model, _ = load_run(run)
    assert all(torch.isfinite(weight).all() for weight in model.adapter_state().values())
