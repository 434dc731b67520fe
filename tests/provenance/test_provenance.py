import hashlib
import os
import stat
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framer.errors import UserError
from framer.provenance import cards
from framer.provenance.cards import lock, read_card, verify_payload, write_card
from framer.provenance.files import atomic, left_behind, write_text
from framer.provenance.hashing import derive_seed, digest, sha256_file
from tests.fixtures.clone import ROOT

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_a_digest_does_not_depend_on_key_order(value: dict) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@given(st.integers(0, 2**40), st.text(), st.text())
def test_seeds_of_different_axes_differ_and_fit_a_generator(seed: int, first: str, second: str) -> None:
    values = {derive_seed(seed, first), derive_seed(seed, first, second), derive_seed(seed + 1, first)}
    assert len(values) == 3
    assert all(0 <= value < 2**63 for value in values)


def test_axes_are_not_joined() -> None:
    assert derive_seed(1, "ab", "c") != derive_seed(1, "a", "bc")


def test_atomic_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_atomic_files_are_as_readable_as_any(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_text(tmp_path / "file.txt", "text")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o640


def test_a_card_stands_for_its_payload(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    write_card(tmp_path, "run", ["weights"], job={"steps": 3})
    card = read_card(tmp_path, "run")
    assert card["payload"] == {"weights": hashlib.sha256(b"weights").hexdigest()}
    assert card["job"] == {"steps": 3}
    verify_payload(tmp_path, card)
    before = sha256_file(tmp_path / "card.json")
    write_card(tmp_path, "run", ["weights"], job={"steps": 3})
    assert sha256_file(tmp_path / "card.json") == before


@pytest.mark.parametrize(
    ("spoil", "file", "key", "code"),
    [
        (lambda folder: (folder / "weights").write_bytes(b"weightz"), "weights", None, "mismatch"),
        (lambda folder: (folder / "weights").unlink(), "weights", None, "missing"),
        (lambda folder: (folder / "card.json").unlink(), "card.json", None, "missing"),
        (lambda folder: (folder / "card.json").write_text("{"), "card.json", None, "unreadable"),
        (lambda folder: (folder / "card.json").write_text("[]"), "card.json", "kind", "unreadable"),
        (lambda folder: write_card(folder, "images", []), "card.json", "kind", "mismatch"),
    ],
)
def test_a_spoilt_folder_is_refused_in_one_line(tmp_path: Path, spoil, file: str, key: str | None, code: str) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    write_card(tmp_path, "run", ["weights"])
    spoil(tmp_path)
    with pytest.raises(UserError) as caught:
        verify_payload(tmp_path, read_card(tmp_path, "run"))
    assert (caught.value.path, caught.value.key, caught.value.code) == (str(tmp_path / file), key, code)
    assert "\n" not in str(caught.value)


def test_the_lock_is_its_file_or_else_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock() == sha256_file(ROOT / "requirements.lock")
    found = []
    for text in ("torch==1\n", "torch==2\n", None):
        monkeypatch.setattr(cards, "LOCK", tmp_path / "requirements.lock")
        cards.LOCK.write_text(text) if text else cards.LOCK.unlink()
        lock.cache_clear()
        found.append(lock())
    monkeypatch.undo()
    lock.cache_clear()
    installed = sorted(f"{one.name}=={one.version}" for one in metadata.distributions())
    assert found[2] == hashlib.sha256("\n".join(installed).encode()).hexdigest()
    assert len(set(found)) == 3


def test_what_a_killed_process_left_is_found_by_the_name_it_would_have_had(tmp_path: Path) -> None:
    name = "a[1].png"
    for other in ("a1.png", "b.png", f".{name}.journal", ".index.csv.journal"):
        (tmp_path / other).touch()
    (tmp_path / name).touch()
    with atomic(tmp_path / name) as part, atomic(tmp_path / "a1.png") as another:
        assert left_behind(tmp_path / name) == [part]
        assert left_behind(tmp_path / "a1.png") == [another]
    assert left_behind(tmp_path / name) == []
