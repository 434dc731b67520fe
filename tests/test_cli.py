"""The command line: instant help, one-line errors, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from framer.cli import COMMANDS, main
from framer.errors import UserError
from tests.fixtures.clone import ROOT


def framer(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "framer", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as done:
        main([name, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert COMMANDS[name][1].split(",")[0][1:] in " ".join(text.split())
    for flags, options in COMMANDS[name][2]:
        assert "help" in options, flags


def test_help_lists_every_command() -> None:
    done = framer("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("module", ["framer", "framer.cli"])
def test_the_start_imports_the_standard_library_alone(module: str) -> None:
    code = f"""
import sys
before = set(sys.modules)
import {module}
print(*{{name.partition(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["framer"]


def test_no_help_imports_what_takes_time() -> None:
    code = """
import sys
from framer.cli import COMMANDS, main
from framer.errors import UserError
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit:
        pass
print("HEAVY", *sorted({"torch", "numpy", "pandas", "scipy", "pydantic", "yaml", "PIL"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["HEAVY"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "photoz"], ["photoz", "did you mean 'photos'"]),
        (["pretrain", "--study", "config/smoke.yml", "--base", "pisa_sr", "--out", "x"], ["config/smoke.yml"]),
        (["pretrain", "--study", "config/micro.yaml", "--base", "pisa", "--out", "x"], ["'pisa'", "pisa_sr"]),
        (
            ["train", "--study", "config/smoke.yaml", "--run", "pisa_sr-framer", "--base", "b", "--out", "x"],
            ["'pisa_sr-framer'", "did you mean 'pisa_sr-framer-s0'"],
        ),
        (
            ["pretrain", "--study", "config/micro.yaml", "--base", "pisa_sr", "--out", "x", "--expect", "0"],
            ["config/micro.yaml", "changed after", "run snakemake again"],
        ),
        (["restore", "--checkpoint", "nowhere", "--lr", "datasets", "--out", "x"], ["datasets"]),
        (["restore", "--checkpoint", "bicubic", "--lr", "nowhere", "--out", "x"], ["nowhere"]),
        (["score", "--sr", "nowhere", "--metrics", "psnr", "--protocol", "osediff", "--out", "x.csv"], ["nowhere"]),
        (
            ["score", "--sr", "nowhere", "--metrics", "psnr", "--protocol", "osedif", "--out", "x.csv"],
            ["did you mean 'osediff'"],
        ),
        *(
            (
                ["score", "--sr", "x", "--metrics", "psnr", "--protocol", "osediff", "--out", "x.csv", "--threads", n],
                [f"--threads {n}: at least 1 is needed"],
            )
            for n in ("0", "-3")
        ),
        (["restore", "--checkpoint", "bicubic", "--lr", "datasets", "--out", "x", "--threads", "0"], ["--threads 0"]),
        (["caption", "--images", "datasets", "--out", "x.csv", "--threads", "-1"], ["--threads -1"]),
        (["degrade", "photos"], ["photos.yaml", "framer fetch photos"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_exit_code_two(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("framer: error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert not (ROOT / "x").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("HF_HUB_ETAG_TIMEOUT", "abc"), ("HF_HUB_DOWNLOAD_TIMEOUT", ""), ("TQDM_MININTERVAL", "1,5")]
)
def test_variables_that_libraries_convert_are_checked_before_they_do(
    name: str, text: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    assert main(["plan", "--study", "config/smoke.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"framer: error: {name}: {text!r} in the environment is not a ")
    assert error.count("\n") == 1


def test_an_unknown_command_is_refused() -> None:
    done = framer("restor")
    assert done.returncode == 2
    assert "restor" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_stops_reading_is_no_failure(unbuffered: str) -> None:
    command = f"{sys.executable} -m framer plan --study config/smoke.yaml | true"
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.stderr == ""


def test_a_renamed_option_is_refused_with_its_new_name(capsys: pytest.CaptureFixture) -> None:
    assert main(["tables", "--study", "config/smoke.yaml", "--out", "tables", "--absent", "photos"]) == 2
    assert "--absent: is now named --missing" in capsys.readouterr().err


def test_of_a_message_that_quotes_a_damaged_file_the_middle_is_left_out() -> None:
    text = str(UserError(f"{'9' * 5000} is no number; make it again", path="scores.csv"))
    assert len(text) < 2100
    assert text.startswith("scores.csv: 999") and text.endswith("999 is no number; make it again")


@pytest.mark.parametrize("name", ["", "My study", "-x", "x" * 101])
def test_a_study_needs_a_name_for_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--folder", str(tmp_path), "--", name]) == 2
    assert "lowercase letters" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
