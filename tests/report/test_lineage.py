"""Ids of cells: one flipped byte of one LR image reaches exactly the cells that hang on it."""

from pathlib import Path

import numpy as np
import pytest

from framer.cli import main
from framer.data.fetch import fetch
from framer.data.images import write_png
from framer.data.manifest import Manifest
from framer.errors import UserError
from framer.report.cells import Cell, find, tables
from framer.report.lineage import differences
from framer.study.study import Study
from tests.fixtures.finished_study import MANIFEST, trained

STUDY = """
title: T
seed: 1
sets: [one, two]
protocols: [osediff, framer]
metrics: [psnr, ssim]
backbones: {}
arms: {bicubic: {label: Bicubic}}
"""


def run_all(study: Path) -> dict[str, str]:
    """Fetch, restore, score: real stages; then the ids of all cells."""
    loaded = Study.load(study)
    for name in loaded.config.sets:
        fetch(Manifest.load(name, Path("datasets")), progress=False)
        images = loaded.out / "images" / "bicubic" / name
        assert main(["restore", "--checkpoint", "bicubic", "--lr", f"datasets/{name}/LR", "--out", str(images)]) == 0
        for protocol in loaded.config.protocols:
            out = loaded.out / "scores" / "bicubic" / name / f"{protocol}.csv"
            hr = ["--hr", f"datasets/{name}/HR", "--metrics", "psnr,ssim", "--protocol", protocol]
            assert main(["score", "--sr", str(images), *hr, "--out", str(out)]) == 0
    return ids(loaded)


def ids(study: Study) -> dict[str, str]:
    cells = [cell for table in tables(study, {}) for cell in table.cells]
    return {f"{c.arm}/{c.set}/{c.protocol}/{c.metric.name}": c.id for c in cells}


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        Path("datasets").mkdir(exist_ok=True)
        Path("datasets", f"{name}.yaml").write_text(MANIFEST.format(id=name, count=6))
        for number in range(6):
            for folder, side in (("LR", 12), ("HR", 48)):
                image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                write_png(Path("datasets", name, folder, f"{number}.png"), image)
    Path("config").mkdir()
    path = Path("config", "ids.yaml")
    path.write_text(STUDY)
    return path


def flip(path: Path) -> None:
    """Change one byte after the end of the PNG's data: not one pixel changes."""
    content = bytearray(path.read_bytes()) + b"\0"
    path.write_bytes(bytes(content))


def test_one_byte_of_one_lr_image(pairs: Path):
    before = run_all(pairs)
    assert len(set(before.values())) == len(before) == 8
    assert run_all(pairs) == before, "the same work has the same ids"
    flip(Path("datasets/one/LR/3.png"))
    for name in ("index.csv", "card.json"):
        Path("datasets", "one", name).unlink()
    after = run_all(pairs)
    assert {name for name in before if before[name] != after[name]} == {n for n in before if n.split("/")[1] == "one"}


def test_one_byte_of_one_hr_image(pairs: Path):
    before = run_all(pairs)
    flip(Path("datasets/two/HR/0.png"))
    for name in ("index.csv", "card.json"):
        Path("datasets", "two", name).unlink()
    after = run_all(pairs)
    assert {name for name in before if before[name] != after[name]} == {n for n in before if n.split("/")[1] == "two"}


def cell(study: Study, arm: str, metric: str = "psnr") -> Cell:
    return find(study, f"{arm}/pairs-a/osediff/{metric}")


def test_the_tree_reaches_the_checkpoint(study: Study):
    trained(study)
    one, other = cell(study, "pisa_sr-baseline"), cell(study, "pisa_sr-framer")
    assert one.tree["seed 1"]["restored"]["checkpoint"]["base"]["made"]["job"] == {"steps": 4}
    differ = {key for key, *_ in differences(one.tree, other.tree) if key.startswith("seed 1.")}
    checkpoint = "seed 1.restored.checkpoint"
    assert differ == {f"{checkpoint}.job.recipe", f"{checkpoint}.payload.model.safetensors"}


def test_what_only_watches_does_not_count(study: Study):
    trained(study)
    before = cell(study, "pisa_sr-framer").id
    trained(study, log="another loss", heldout=7)
    assert cell(study, "pisa_sr-framer").id == before


def test_images_of_another_checkpoint_are_refused(study: Study):
    trained(study)
    card = study.out / "runs" / "pisa_sr-framer-s0" / "card.json"
    card.write_text(card.read_text().replace("0.1", "0.2"))
    with pytest.raises(UserError, match=r"restored with another checkpoint than runs/pisa_sr-framer-s0 holds now"):
        cell(study, "pisa_sr-framer")


def test_why_and_diff(study: Study, capsys: pytest.CaptureFixture[str]):
    trained(study)
    arguments = ["--study", str(study.path)]
    assert main(["why", "pisa_sr-framer/pairs-a/osediff/psnr", *arguments]) == 0
    said = capsys.readouterr().out
    found = cell(study, "pisa_sr-framer")
    assert said.startswith(f"{found.id}  pisa_sr-framer/pairs-a/osediff/psnr  28.25\n")
    assert "metric: psnr@y-bt601-limited,c0" in said
    assert "recipe: released" in said
    assert main(["why", found.id[:8], *arguments]) == 0
    assert capsys.readouterr().out == said
    assert main(["diff", found.id, found.id, *arguments]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2, "nothing differs"
    ssim = cell(study, "pisa_sr-framer", "ssim").id
    assert main(["diff", found.id, ssim, *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.strip().rpartition(".")[2] for line in lines[::3]] == ["metric", "metric"], "one a seed"


def test_a_cell_that_is_not_there(study: Study, capsys: pytest.CaptureFixture[str]):
    assert main(["why", "bicubic/pairs-a/osediff/psnt", "--study", str(study.path)]) == 2
    assert "did you mean 'bicubic/pairs-a/osediff/psnr'?" in capsys.readouterr().err
    assert main(["why", "zz", "--study", str(study.path)]) == 2
    assert "0 cells have an id that starts with 'zz'" in capsys.readouterr().err
