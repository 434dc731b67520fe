"""One reader for every YAML text, and mistakes with their file and key."""

import json
import math
import random
from pathlib import Path

import pytest

from framer.commands.arguments import json_object, key_values
from framer.config_file import Strict, parse_yaml, read_model, read_yaml
from framer.errors import UserError


class Inner(Strict):
    rate: float


class Outer(Strict):
    inner: dict[str, Inner]


NUMBERS = ["2e-3", "2.e-3", "+2E-3", "1e5", "1.0e-5", "-7", "0.25", "1e+16"]


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_means_the_same_in_a_file_and_on_the_command_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.yaml").write_text(f"value: {text}\n")
    assert read_yaml(tmp_path / "one.yaml") == key_values("--set", [f"value={text}"]) == {"value": float(text)}


def test_every_float_survives_both_ways_to_the_command() -> None:
    rng = random.Random(0)
    floats = [math.ldexp(rng.uniform(-1, 1), rng.randint(-1000, 1000)) for _ in range(2000)]
    for value in [*floats, 5e-324, 1e22, 1e-5, -0.0]:
        assert repr(parse_yaml(json.dumps(value))) == repr(value)
    settings = {"a": 1e-5, "b": [1, True, None], "c": {"d": "1e-5\x7f\U0001f600"}}
    assert json_object("--settings", json.dumps(settings)) == settings


@pytest.mark.parametrize("text", ["", "[1]", "{", "1"])
def test_settings_are_a_json_object(text: str) -> None:
    with pytest.raises(UserError) as error:
        json_object("--settings", text)
    assert error.value.key == "--settings"


@pytest.mark.parametrize("text", ["steps", "=3", "a={", "a={b: 1, b: 2}"])
def test_a_setting_is_key_and_value(text: str) -> None:
    with pytest.raises(UserError) as error:
        key_values("--set", [text])
    assert error.value.key == "--set"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("inner: {a: {rate: fast}}", "inner.a.rate"),
        ("inner: {a: {rat: 1.0}}", "inner.a"),
        ("inner: {a: {rate: .inf}}", "inner.a.rate"),
        ("{}", "inner"),
        ("more: 1\ninner: {}", None),
    ],
)
def test_a_mistake_names_its_file_and_key(tmp_path: Path, text: str, key: str | None) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_model(path, Outer)
    assert (error.value.path, error.value.key) == (str(path), key)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "missing"),
        (b"\xff", "unreadable"),
        (b"a: [", "unreadable"),
        (b"a: 1\na: 2", "unreadable"),
        (b"1", "invalid"),
    ],
)
def test_a_file_that_is_no_mapping_names_itself(tmp_path: Path, content: bytes | None, code: str) -> None:
    path = tmp_path / "one.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_yaml(path)
    assert (error.value.path, error.value.code) == (str(path), code)
