"""What is kept of an interrupted job, and what of it counts."""

from pathlib import Path

import pytest

from framer.provenance.journal import Journal, entries, journal_of

VALUES = {"a.png": [1.5, "word, \u201cword\u201d\n"], "b.png": None, "c.png": {"x": 0.1}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "s.csv"


def kept(out: Path, task: object = 1) -> Journal:
    journal = Journal(out, task)
    for name, value in VALUES.items():
        journal.append(name, value)
    return journal


def test_values_come_back_and_the_later_one_holds(out: Path) -> None:
    assert Journal(out, 1).read() == entries(out) == {}
    kept(out).append("b.png", 2)
    assert Journal(out, 1).read() == entries(out) == VALUES | {"b.png": 2}
    assert [path.name for path in out.parent.iterdir()] == [".s.csv.journal"]


def test_other_work_reads_nothing_and_replaces_it_only_when_it_has_something(out: Path) -> None:
    kept(out, {"seed": 0})
    other = Journal(out, {"seed": 1})
    assert other.read() == {}
    assert entries(out) == Journal(out, {"seed": 0}).read() == VALUES
    other.append("a.png", 3)
    assert other.read() == {"a.png": 3} and Journal(out, {"seed": 0}).read() == {}


def test_wherever_a_kill_cut_it_what_was_whole_counts_and_more_can_follow(out: Path) -> None:
    kept(out)
    whole = journal_of(out).read_bytes()
    for at in range(len(whole) + 1):
        journal_of(out).write_bytes(whole[:at])
        journal = Journal(out, 1)
        found = journal.read()
        assert found == {name: VALUES[name] for name in list(VALUES)[: len(found)]}
        complete = sum(whole[:at].startswith(b"\n".join(whole.split(b"\n")[: n + 1])) for n in range(1, 4))
        assert len(found) == complete
        journal.append("d.png", 4)
        assert journal.read() == found | {"d.png": 4}


def test_a_journal_is_removed_once_and_again(out: Path) -> None:
    journal = kept(out)
    journal.remove()
    journal.remove()
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("line", ["7", "null", '["a"]', "[1, 2]", "[" * 100000, '{"a": 1}', '{"a": 1, "b": 2}', "\0"])
def test_damaged_lines_are_ignored(tmp_path: Path, line: str) -> None:
    journal = Journal(tmp_path / "x", 1)
    journal.append("kept", 1)
    with journal.path.open("a") as file:
        file.write("\n" + line)
    journal.append("later", 2)
    assert {"kept": 1, "later": 2}.items() <= journal.read().items()
    assert all(isinstance(name, str) for name in journal.read())
