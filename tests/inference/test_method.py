"""Another method's code, from a repository on this machine to images in a folder with a card."""

import subprocess
from pathlib import Path

import pytest
import yaml

from framer.cli import main
from framer.data.images import image_size
from framer.errors import UserError
from framer.external.made import build, clone
from framer.external.manifest import MethodManifest
from framer.inference.method import run_method
from framer.provenance.cards import read_card
from tests.external.test_manifest import MINE
from tests.fixtures.killing import killed

# Four times as large, of one color, as a BMP without any package. What goes wrong is chosen by a file of the machine.
SCRIPT = """
import pathlib, signal, struct, os, sys
lr, out, seed, wrong = sys.argv[1:]
wrong = pathlib.Path(wrong).read_text() if os.path.exists(wrong) else ""
assert not (pathlib.Path("left")).exists(), "the copy of the repository is new each time"
pathlib.Path("left").touch()
for number, path in enumerate(sorted(pathlib.Path(lr).iterdir())):
    width, height = (4 * side for side in struct.unpack(">II", path.read_bytes()[16:24]))
    if wrong == "kill" and number == 1:
        os.kill(os.getppid(), signal.SIGKILL)
    if wrong == "few" and number == 1:
        break
    if wrong == "size":
        height += 1
    row = bytes([int(seed) % 256, 100, 200]) * width
    row += bytes(-len(row) % 4)
    head = struct.pack("<2sIHHI", b"BM", 54 + height * len(row), 0, 0, 54)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    (pathlib.Path(out) / "sub").mkdir(exist_ok=True)
    (pathlib.Path(out) / "sub" / (path.stem + ".bmp")).write_bytes(head + row * height)
sys.exit(3 if wrong == "fail" else 0)
"""


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def method(tmp_path_factory) -> Path:
    """A folder with methods/mine.yaml, whose clone and environment are made."""
    root = tmp_path_factory.mktemp("method")
    (root / "repo").mkdir()
    (root / "repo" / "run.py").write_text(SCRIPT)
    git(root / "repo", "init", "--quiet")
    git(root / "repo", "add", ".")
    git(root / "repo", "commit", "--quiet", "-m", "one")
    commit = git(root / "repo", "rev-parse", "HEAD").strip()
    (root / "methods").mkdir()
    (root / "methods" / "mine.txt").write_text("# nothing\n")
    keys = {"repository": str(root / "repo"), "commit": commit, "results": "sub"}
    keys["command"] = f"python run.py {{lr}} {{out}} {{seed}} '{root}/wrong'"
    (root / "methods" / "mine.yaml").write_text(yaml.safe_dump(MINE | keys))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["fetch-method", "mine"]) == 0
        assert main(["build-method", "mine"]) == 0
    return root


@pytest.fixture
def folders(method: Path, tmp_path: Path, noise_image, monkeypatch) -> tuple[Path, Path]:
    monkeypatch.chdir(method)
    (method / "wrong").unlink(missing_ok=True)
    for seed, name in enumerate("ab"):
        noise_image(tmp_path / f"lr/{name}.png", width=8 + seed, height=6, seed=seed)
    return tmp_path / "lr", tmp_path / "out"


def run(lr: Path, out: Path, seed: int = 7) -> None:
    run_method("mine", lr, out, seed=seed, progress=False)


def test_its_images_are_those_of_its_command(folders, method: Path) -> None:
    lr, out = folders
    assert main(["run-method", "mine", "--lr", str(lr), "--out", str(out), "--seed", "7"]) == 0
    assert [image_size(out / f"{stem}.png") for stem in "ab"] == [(32, 24), (36, 24)]
    card = read_card(out, "images")
    assert card["checkpoint"] == "method"
    manifest = MethodManifest.load("mine")
    assert (card["method"]["commit"], card["method"]["seed"]) == (manifest.commit, 7)
    assert card["method"]["command"] == manifest.command
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")], "no work folder stays"


@pytest.mark.parametrize(("wrong", "words"), [("fail", "exit code 3"), ("few", "no image for"), ("size", "not 32x24")])
def test_what_goes_wrong_is_one_line_and_leaves_no_images(folders, method: Path, wrong: str, words: str) -> None:
    lr, out = folders
    (method / "wrong").write_text(wrong)
    with pytest.raises(UserError, match=words) as caught:
        run(lr, out)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    (method / "wrong").unlink()
    run(lr, out)  # and what was left of it is in nobody's way
    assert read_card(out, "images")


def test_killed_in_between_it_starts_anew(folders, method: Path) -> None:
    lr, out = folders
    (method / "wrong").write_text("kill")
    killed(run, lr, out)
    assert not (out / "card.json").exists()
    (method / "wrong").unlink()
    run(lr, out)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "card.json", "index.csv"]


def test_clone_and_environment_are_made_once_and_are_those_of_the_manifest(folders, method: Path) -> None:
    lr, out = folders
    manifest, made = MethodManifest.load("mine"), method / "methods/mine"
    before = (made / "clone/repository/run.py").stat().st_mtime_ns
    clone(manifest)
    build(manifest)
    assert (made / "clone/repository/run.py").stat().st_mtime_ns == before
    (made / "clone/repository/extra.py").touch()
    with pytest.raises(UserError, match="was changed after it was cloned"):
        run(lr, out)
    (made / "clone/repository/extra.py").unlink()
    (method / "methods/mine.txt").write_text("# another\n")
    with pytest.raises(UserError, match="run: framer build-method mine"):
        run(lr, out)
    (method / "methods/mine.txt").write_text("# nothing\n")


def test_a_folder_of_others_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    (tmp_path / "mine/clone").mkdir(parents=True)
    (tmp_path / "mine/clone/thesis.tex").touch()
    with pytest.raises(UserError) as caught:
        clone(MethodManifest.load("mine", tmp_path), tmp_path)
    assert caught.value.code == "refused"
    assert (tmp_path / "mine/clone/thesis.tex").exists()
