"""Ids of cells hang on the code of every stage and on the lock: each edit reaches exactly the cells that it made.

Real stages run; only the sources that are fingerprinted lie elsewhere, so that they can be edited.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from framer.cli import main
from framer.data.images import write_png
from framer.provenance import cards, code
from framer.provenance.cards import lock
from framer.report.cells import tables
from framer.study.study import Study

MANIFEST = """
id: {id}
title: {id}
license: none
paired: {paired}
scale: 4
count: 3
sources: [{{kind: manual, folders: {folders}, where: [here], note: none}}]
"""
STUDY = """
title: T
seed: 1
sets: [one, two]
protocols: [osediff]
metrics: [psnr]
backbones:
  pisa_sr:
    base: tiny
    data: {sets: [photos], degradation: pisa_sr}
    pretrain: {steps: 0, batch: 1, crop: 32, lr: 0.1}
    train: {pixel: {steps: 1, batch: 1, crop: 32, lr: 0.1}}
    settings: {lpips: 0}
arms:
  bicubic: {label: Bicubic}
  ours: {label: Ours, backbone: pisa_sr}
"""
ROWS, SETS = ("bicubic", "ours-s0"), ("one", "two")
OUT = Path("results", "ids")


class Stages:
    """The stages of a study, run by hand, and the sources whose fingerprints they record."""

    def __init__(self, sources: Path):
        self.sources = sources

    def run(self, *arguments: str) -> None:
        assert main(list(arguments)) == 0

    def train(self) -> None:
        study = ("--study", "config/ids.yaml")
        self.run("pretrain", *study, "--base", "pisa_sr", "--out", f"{OUT}/bases/pisa_sr")
        where = ("--base", f"{OUT}/bases/pisa_sr", "--out", f"{OUT}/runs/ours-s0")
        self.run("train", *study, "--run", "ours-s0", *where, "--resume", "none")

    def restore(self, *rows: str) -> None:
        for row in rows:
            model = "bicubic" if row == "bicubic" else f"{OUT}/runs/{row}"
            for name in SETS:
                where = ("--lr", f"datasets/{name}/LR", "--out", f"{OUT}/images/{row}/{name}")
                self.run("restore", "--checkpoint", model, *where)

    def score(self, *rows: str) -> None:
        for row in rows:
            for name in SETS:
                where = ("--sr", f"{OUT}/images/{row}/{name}", "--hr", f"datasets/{name}/HR")
                how = ("--metrics", "psnr", "--protocol", "osediff", "--threads", "1")
                self.run("score", *where, *how, "--out", f"{OUT}/scores/{row}/{name}/osediff.csv")

    def ids(self) -> dict[str, str]:
        [table] = tables(Study.load(Path("config/ids.yaml")), {})
        return {f"{cell.arm}/{cell.set}": cell.id for cell in table.cells}

    def edit(self, name: str, text: str = "\nADDED = 1\n") -> None:
        path = self.sources / name
        path.write_text(path.read_text() + text)
        forget()


def forget() -> None:
    """Sources are read once a process."""
    for function in vars(code).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
    lock.cache_clear()


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    sources = tmp_path / "sources" / "framer"
    shutil.copytree(code.PACKAGE, sources, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE", sources)
    monkeypatch.setattr(code, "ROOT", sources.parent)
    forget()
    rng = np.random.default_rng(0)
    for name, folders, sides in (
        ("photos", "[HR]", {"HR": 48}),
        *((s, "[LR, HR]", {"LR": 12, "HR": 48}) for s in SETS),
    ):
        paired = "false" if name == "photos" else "true"
        Path("datasets").mkdir(exist_ok=True)
        Path("datasets", f"{name}.yaml").write_text(MANIFEST.format(id=name, folders=folders, paired=paired))
        for folder, side in sides.items():
            for number in range(3):
                image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
                write_png(Path("datasets", name, folder, f"{number}.png"), image)
    Path("config").mkdir()
    Path("config", "ids.yaml").write_text(STUDY)
    made = Stages(sources)
    made.run("fetch", "photos", *SETS)
    made.train()
    made.restore(*ROWS)
    made.score(*ROWS)
    yield made
    monkeypatch.undo()
    forget()


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert before.keys() == after.keys() == {f"{arm}/{name}" for arm in ("bicubic", "ours") for name in SETS}
    return {name for name in before if before[name] != after[name]}


def test_each_stage_reaches_its_cells(stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ours, everything = {f"ours/{name}" for name in SETS}, set(stages.ids())
    before = stages.ids()

    def again(*, trained: bool = False, restored: bool = True) -> set[str]:
        nonlocal before
        if trained:
            stages.train()
        if restored:
            stages.restore(*ROWS)
        stages.score(*ROWS)
        earlier, before = before, stages.ids()
        return changed(earlier, before)

    stages.edit("inference/restore.py", "\n# a comment\n")
    stages.edit("scoring/folders.py", '\n"""Words."""\n')
    assert again(trained=True) == set(), "the same work has the same ids; comments and documentation are no code"
    stages.edit("scoring/psnr_ssim.py")
    assert again(restored=False) == everything, "scoring"
    stages.edit("backbones/pisa_sr/model.py")
    assert again() == ours, "what restores with a model, and not bicubic interpolation"
    stages.edit("inference/restore.py")
    assert again() == everything, "restoring itself"
    stages.edit("training/trainer.py")
    assert again() == set(), "training, which is not made again"
    assert again(trained=True) == ours, "training"
    lock = tmp_path / "requirements.lock"
    lock.write_text("torch==9\n")
    monkeypatch.setattr(cards, "LOCK", lock)
    forget()
    assert again(restored=False) == everything, "the lock"
