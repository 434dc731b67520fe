"""The script for bash in a real bash."""

import subprocess
from pathlib import Path

import pytest

from framer.cli import COMMANDS, main
from tests.fixtures.clone import ROOT


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "framer"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["se"], ["serve"]),
        ([""], sorted(COMMANDS)),
        (["serve", "--po"], ["--port"]),
        (["serve", "--study", "smo"], ["smoke"]),
        (["train", "--study", "config/smo"], ["config/smoke.yaml"]),
        (["completion", "z"], ["zsh"]),
    ],
    ids=" ".join,
)
def test_bash_completes(words: list[str], expected: list[str], script: Path) -> None:
    line = ["framer", *words]
    command = """source "$1"; shift
    function=$(complete -p framer | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); $function framer "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
    printf '%s\\n' "${COMPREPLY[@]}\""""
    done = subprocess.run(["bash", "-c", command, "bash", str(script), *line], cwd=ROOT, capture_output=True, text=True)
    assert (done.stderr, sorted({*done.stdout.split()})) == ("", expected)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)
