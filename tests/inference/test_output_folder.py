"""What another method restored is taken over whole, or not at all."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framer.cli import main
from framer.data.image_folder import verify
from framer.data.images import read_rgb, write_index
from framer.errors import UserError
from framer.inference import output_folder
from framer.inference.import_images import adopt
from framer.inference.output_folder import Filling
from framer.inference.restore import restore
from framer.provenance.cards import read_card, write_card
from framer.provenance.hashing import sha256_file
from framer.provenance.journal import Journal
from framer.runs.run_dir import data_digests
from tests.fixtures.writers import held

Folders = tuple[Path, Path, Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folders(tmp_path: Path, noise_image) -> Folders:
    for seed, name in enumerate("ab"):
        noise_image(tmp_path / f"lr/{name}.png", width=8 + seed, height=6, seed=seed)
        noise_image(tmp_path / f"sr/{name}.png", width=4 * (8 + seed), height=24, seed=seed + 5)
    return tmp_path / "sr", tmp_path / "lr", tmp_path / "out"


def test_a_set_around_the_inputs_is_named_as_such(folders: Folders, capsys: pytest.CaptureFixture) -> None:
    """Its index lists the inputs: nobody should move it away."""
    sr, lr, _ = folders
    (lr.parent / "index.csv").write_text(f"file,width,height,sha256\nlr/a.png,8,6,{'0' * 64}\n")
    before = contents(lr.parent)
    assert main(["import-images", "--images", str(sr), "--lr", str(lr), "--out", str(lr.parent)]) == 2
    assert "holds " in (said := capsys.readouterr().err) and "an input of this command" in said
    assert contents(lr.parent) == before


def test_the_pixels_are_the_same_in_any_lossless_format(folders: Folders) -> None:
    sr, lr, out = folders
    Image.open(sr / "a.png").save(sr / "a.bmp")
    (sr / "a.png").unlink()
    adopt(sr, lr, out, progress=False)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "card.json", "index.csv"]
    assert np.array_equal(read_rgb(out / "a.png"), read_rgb(sr / "a.bmp"))
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    adopt(sr, lr, out, progress=False)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    adopt(sr, lr, out, source="a repository, its weights", progress=False)
    assert read_card(out, "images")["source"] == "a repository, its weights"


@pytest.mark.parametrize(
    ("change", "path", "code"),
    [
        (lambda sr, make: (sr / "b.png").unlink(), "sr", "missing"),
        (lambda sr, make: make(sr / "c.png"), "sr", "mismatch"),
        (lambda sr, make: make(sr / "b.png", width=8), "sr/b.png", "mismatch"),
        (lambda sr, make: (sr / "b.png").write_bytes(b"x"), "sr/b.png", "unreadable"),
        (lambda sr, make: Image.open(sr / "b.png").save(sr / "b.png", "JPEG"), "sr/b.png", "refused"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(folders: Folders, noise_image, change, path, code) -> None:
    sr, lr, out = folders
    adopt(sr, lr, out, progress=False)
    before = contents(out)
    change(sr, noise_image)
    with pytest.raises(UserError) as caught:
        adopt(sr, lr, out, progress=False)
    assert (caught.value.path, caught.value.code) == (str(sr.parent / path), code)
    assert "\n" not in str(caught.value)
    assert contents(out) == before


def test_what_a_killed_restoring_left_goes(folders: Folders, tmp_path: Path) -> None:
    sr, lr, out = folders
    adopt(sr, lr, out, progress=False)
    clean = {path.name: path.read_bytes() for path in out.iterdir()}
    filling = Filling(out, "another work", {"a": "its LR image", "gone": "another"})
    for stem in ("a", "gone"):
        filling.write(stem, read_rgb(sr / "a.png"))
    adopt(sr, lr, out, progress=False)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == clean


def test_an_image_that_is_begun_in_the_journal_goes_too(tmp_path: Path) -> None:
    """Killed after the image was written, before the journal says so."""
    out = tmp_path / "out"
    Filling(out, 1, {"a": 1}).write("a", np.zeros((4, 4, 3), np.uint8))
    journal = out / ".index.csv.journal"
    journal.write_text(journal.read_text().rpartition("\n")[0])
    assert Filling(out, 2, {"b": 1}).done == set()
    assert list(out.iterdir()) == []


def command_line(command: str, folders: Folders) -> list[str]:
    sr, lr, out = folders
    source = ["--checkpoint", "bicubic"] if command == "restore" else ["--images", str(sr)]
    return [command, *source, "--lr", str(lr), "--out", str(out)]


def run(command: str, folders: Folders) -> int:
    """Exit code of a command that writes into the folder `out`."""
    return main(command_line(command, folders))


def data_set(folder: Path, make) -> None:
    """A set with a card, as `framer fetch` leaves it."""
    for part, side in (("LR", 8), ("HR", 32)):
        for seed, name in enumerate("ab"):
            make(folder / part / f"{name}.png", side, side, seed)
    write_index(folder, [f"{part}/{name}.png" for part in ("LR", "HR") for name in "ab"])
    write_card(folder, "images", ["index.csv"], set=folder.name, source={})


@pytest.mark.parametrize("command", ["restore", "import-images"])
@pytest.mark.parametrize(
    "out", ["S/HR", "S/LR", "S", "S/LR/deeper", "S/new", "..", "sr", "photos", "photos/p.png", "other"]
)
def test_folders_of_others_are_refused_and_untouched(
    tmp_path: Path, noise_image, capsys, command: str, out: str
) -> None:
    data_set(tmp_path / "sets/S", noise_image)
    for name in "ab":
        noise_image(tmp_path / f"sets/sr/{name}.png", 32, 32)
        noise_image(tmp_path / f"sets/photos/{name}.png", 32, 32)
        noise_image(tmp_path / f"sets/other/{name}.png", 32, 32)
    noise_image(tmp_path / "sets/photos/p.png")
    write_card(tmp_path / "sets/other", "run", ["a.png", "b.png"])
    before = contents(tmp_path)
    folders = (tmp_path / "sets/sr", tmp_path / "sets/S/LR", tmp_path / "sets" / out)
    if (command, out) == ("restore", "sr"):
        folders = (folders[0], tmp_path / "sets/sr", folders[2])
    assert run(command, folders) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert contents(tmp_path) == before


@pytest.mark.parametrize("card", [True, False], ids=["finished", "the card is deleted"])
@pytest.mark.parametrize("first", ["restore", "import-images"])
def test_another_job_replaces_exactly_what_the_index_lists(
    folders: Folders, noise_image, card: bool, first: str
) -> None:
    sr, lr, out = folders
    second = {"restore": "import-images", "import-images": "restore"}[first]
    noise_image(lr / "c.png", 8, 8)
    noise_image(sr / "c.png", 32, 32)
    assert run(first, folders) == 0
    if not card:
        (out / "card.json").unlink()
    (out / ".hidden").write_text("the user's")
    for folder in (sr, lr):
        (folder / "c.png").unlink()
    assert run(second, folders) == 0
    assert sorted(contents(out)) == [".hidden", "a.png", "b.png", "card.json", "index.csv"]


@pytest.mark.parametrize("extra", ["p0.jpg", "notes.txt", "more/a.png"])
def test_a_file_that_no_index_lists_is_refused(folders: Folders, noise_image, capsys, extra: str) -> None:
    assert run("restore", folders) == 0
    (folders[2] / extra).parent.mkdir(exist_ok=True)
    (folders[2] / extra).write_bytes(b"mine")
    before = contents(folders[2])
    noise_image(folders[1] / "a.png", 9, 9)  # another job from now on
    assert run("restore", folders) == 2
    assert extra in capsys.readouterr().err
    assert contents(folders[2]) == before


@pytest.mark.parametrize("name", ["../notes.txt", "sub/x.png", "/etc/x", "..\\x"])
@pytest.mark.parametrize("where", ["index", "journal"])
def test_names_with_separators_are_never_followed(folders: Folders, name: str, where: str) -> None:
    _, _, out = folders
    out.mkdir()
    for victim in (out.parent / "notes.txt", out / "sub/x.png"):
        victim.parent.mkdir(exist_ok=True)
        victim.write_text("mine")
    if where == "index":
        (out / "index.csv").write_text(f"name,width,height,sha256\n{name},1,1,x\n")
    else:
        Journal(out / "index.csv", 1).append(name, None)
    before = contents(out.parent)
    assert run("restore", folders) == 2
    assert contents(out.parent) == before


def test_a_subfolder_of_plain_images_is_allowed(folders: Folders, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """`--lr . --out restored`: again and again, and without a word of the subfolder."""
    monkeypatch.chdir(folders[1])
    for _ in range(2):
        assert main(["restore", "--checkpoint", "bicubic", "--lr", ".", "--out", "restored"]) == 0
    assert "left out" not in capsys.readouterr().err
    assert sorted(contents(Path("restored"))) == ["a.png", "b.png", "card.json", "index.csv"]


@pytest.mark.parametrize("command", ["restore", "import-images"])
def test_a_second_writer_is_refused_and_named(folders: Folders, capsys: pytest.CaptureFixture, command: str) -> None:
    out = folders[2]
    with output_folder.filling(out, 1, {"a": 1}, ()) as first:
        first.write("a", np.zeros((24, 32, 3), np.uint8))
        before = contents(out)
        assert run(command, folders) == 2
        error = capsys.readouterr().err
        assert contents(out) == before
    assert f"process {os.getpid()} on {socket.gethostname()}" in error
    assert run(command, folders) == 0
    assert sorted(contents(out)) == ["a.png", "b.png", "card.json", "index.csv"]


@pytest.mark.parametrize("command", ["restore", "import-images"])
def test_of_two_processes_at_once_one_writes_the_whole_folder(folders: Folders, tmp_path: Path, capsys, command: str):
    sr, lr, out = folders
    assert run(command, (sr, lr, tmp_path / "alone")) == 0
    with held(command_line(command, folders), "framer.inference.output_folder", "write_png") as pid:
        for second in ("restore", "import-images"):
            assert run(second, folders) == 2
            assert f"process {pid} on {socket.gethostname()}" in capsys.readouterr().err
    assert contents(out) == contents(tmp_path / "alone")


def test_imported_images_are_never_deleted(folders: Folders, noise_image) -> None:
    """`--images X --out X` with an image of a wrong size, and without; `--out` of the LR images."""
    sr, lr, _ = folders
    before = contents(sr.parent)
    for out in (sr, lr):
        assert run("import-images", (sr, lr, out)) == 2
    assert contents(sr.parent) == before
    noise_image(sr / "b.png", 8, 8)
    before = contents(sr.parent)
    assert run("import-images", (sr, lr, sr)) == 2
    assert contents(sr.parent) == before


def test_a_card_inside_a_set_is_not_the_sets(tmp_path: Path, noise_image) -> None:
    data_set(tmp_path / "S", noise_image)
    noise_image(tmp_path / "S/HR/a.png", 32, 32, seed=9)  # overwritten, with a card of its own
    write_index(tmp_path / "S/HR", ["a.png", "b.png"])
    write_card(tmp_path / "S/HR", "images", ["index.csv"], checkpoint="bicubic")
    with pytest.raises(UserError) as caught:
        verify(tmp_path / "S/HR")
    assert (caught.value.path, caught.value.code) == (str(tmp_path / "S/HR/a.png"), "mismatch")
    assert data_digests([tmp_path / "S/HR"]) == {"S": sha256_file(tmp_path / "S/card.json")}


def test_sizes_and_names_of_outputs_are_checked_before_any_work(tmp_path: Path, noise_image) -> None:
    noise_image(tmp_path / "lr/a.png", 8, 8)
    noise_image((tmp_path / "lr" / ("\u6f22" * 81)).with_suffix(".png"), 8, 8)
    with pytest.raises(UserError, match="bytes in UTF-8"):
        restore("bicubic", tmp_path / "lr", tmp_path / "out", progress=False)
    Image.new("1", (2**15, 2**12)).save(tmp_path / "large.png")
    with pytest.raises(UserError) as caught:
        output_folder.check_outputs({"large": tmp_path / "large.png"}, 4)
    assert caught.value.path == str(tmp_path / "large.png")
    assert not (tmp_path / "out").exists()


def test_outputs_above_pillows_limit_are_sealed_and_read(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """More pixels than Pillow opens without a warning by default, 89 million."""
    with output_folder.filling(tmp_path, 1, {"a": 1}, ()) as folder:
        folder.write("a", np.zeros((16, 2**22 + 2**21, 3), np.uint8))
        folder.seal("code")  # decodes it
    verify(tmp_path)
    assert not recwarn.list
