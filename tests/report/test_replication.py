"""Studies that were run whole, in docs/replication.md: their tables come again from the scores that are kept."""

import shutil
from pathlib import Path

import pytest

from framer import cli
from tests.fixtures.clone import ROOT

KEPT = ROOT / "docs" / "replication"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in KEPT.glob("*/scores")))
def test_its_tables_come_again_from_its_scores(name: str, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(KEPT / name / "scores", clone / "results" / name / "scores")
    monkeypatch.chdir(clone)
    assert cli.main(["tables", "--study", f"config/{name}.yaml", "--out", "tables"]) == 0
    kept = sorted((KEPT / name).glob("*.md"))
    assert {"main.md", "ablation.md", "claims.md"} <= {path.name for path in kept}
    for path in kept:
        assert (clone / "tables" / path.name).read_bytes() == path.read_bytes(), path.name
