"""What a command may write into: new, empty, or its own."""

from pathlib import Path

import pytest

from framer.errors import UserError
from framer.provenance import output
from framer.provenance.cards import write_card
from framer.provenance.lock import exclusive


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(call, path: Path, code: str = "refused") -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert (caught.value.path, caught.value.code) == (str(path), code)
    assert "\n" not in str(caught.value)


def claim(folder: Path, kind: str = "run", **options) -> None:
    with output.claimed(folder, kind, **options):
        pass


def test_a_new_folder_is_filled_replaced_and_cleared(tmp_path: Path) -> None:
    out = tmp_path / "a/b"
    for content in ("1", "2"):
        with output.claimed(out, "run") as folder:
            folder.clear()
            for name in ("w", "deep/er/x"):
                path = folder.file(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
            write_card(out, "run", ["w", "deep/er/x"])
        assert (out / "w").read_text() == content
    (out / "card.json").unlink()  # as Snakemake does
    with output.claimed(out, "run") as folder:
        folder.clear()
    assert not list(out.iterdir())


def test_a_claim_without_work_leaves_nothing(tmp_path: Path) -> None:
    claim(tmp_path / "a/b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "facts"),
    [("base", {}), ("images", {"set": "S"}), ("run", {"repo": "a/b"}), (None, {})],
    ids=["another kind", "a set", "published", "no kind"],
)
def test_a_card_of_something_else_is_refused(tmp_path: Path, kind: str, facts: dict) -> None:
    (tmp_path / "x").write_text("mine")
    write_card(tmp_path, kind, ["x"], **facts)
    before = contents(tmp_path)
    refused(lambda: claim(tmp_path), tmp_path / "card.json")
    assert contents(tmp_path) == before


def test_names_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("victim", "else/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (out / "link").symlink_to(tmp_path / "else")
    (out / "card.json").write_text('{"kind": "run", "payload": {"../victim": "", "link/x": "", "/etc/x": ""}}')
    refused(lambda: claim(out), out)  # of the link
    output.remove(out, ["link/x"])
    assert (tmp_path / "victim").exists() and (tmp_path / "else/x").exists()


@pytest.mark.parametrize("out", ["S/LR", "S", ".", "S/LR/x", "S/HR", "S/x"])
def test_an_output_is_no_input_nor_around_or_in_its_set(tmp_path: Path, out: str) -> None:
    (tmp_path / "S/LR").mkdir(parents=True)
    write_card(tmp_path / "S", "images", [], set="S")
    refused(lambda: output.keep_apart(tmp_path / out, [None, tmp_path / "S/LR"]), tmp_path / out)
    (tmp_path / "link").symlink_to(tmp_path)
    refused(lambda: output.keep_apart(tmp_path / "link" / out, [tmp_path / "S/LR"]), tmp_path / "link" / out)


def test_beside_an_input_and_in_a_plain_one_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "lr").mkdir()
    output.keep_apart(tmp_path / "lr/restored", [tmp_path / "lr"])
    output.keep_apart(tmp_path / "sr", [tmp_path / "lr", tmp_path / "captions.csv"])


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with output.claimed(tmp_path / "out", "run") as folder:
        refused(lambda: claim(tmp_path / "out"), tmp_path / "out", "busy")
        folder.file("w").write_text("1")
    claim(tmp_path / "out")


def test_a_file_of_others_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "s.csv"

    def write(ours: bool) -> None:
        with output.claimed_file(out, lambda _: ours):
            out.write_text("x")

    write(False)  # new
    write(True)
    refused(lambda: write(False), out)
    with exclusive(tmp_path / ".s.csv.lock", out):
        refused(lambda: write(True), out, "busy")
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]
    out.unlink()
    out.mkdir()
    refused(lambda: write(True), out)
