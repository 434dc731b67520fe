"""The tiny bases of weights/tiny: what shipping writes, and that they are what their cards say."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from framer.backbones.loading import read_tensors
from framer.data.fetch import how_to_get
from framer.data.image_folder import complete
from framer.provenance.cards import read_card, verify_payload
from framer.provenance.hashing import sha256_file
from framer.runs import run_dir
from framer.runs.shipped import ship
from framer.study.layout import TINY_BASES
from framer.study.schema import Optimisation
from framer.study.study import Study
from framer.training.options import Session
from framer.training.pretrain import pretrain
from tests.fixtures.clone import ROOT
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import BACKBONES, base_job

QUIET = Session(progress=False)
STEPS = 3
LARGEST = {"pisa_sr": 3.5e6, "dit4sr": 10e6}
"""Bytes of the weights."""


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_a_shipped_base_is_the_trained_one_in_half_precision(tmp_path: Path) -> None:
    write_photographs(tmp_path)
    job = base_job("pisa_sr", 1)
    pretrain(job, [tmp_path / "photos"], tmp_path / "base", tmp_path / "pairs", QUIET)
    ship(tmp_path / "base", tmp_path / "shipped")
    ship(tmp_path / "base", tmp_path / "again")
    assert (tmp_path / "shipped/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()

    whole, half = (read_tensors(tmp_path / name / run_dir.MODEL) for name in ("base", "shipped"))
    assert whole.keys() == half.keys()
    for name, tensor in half.items():
        assert tensor.dtype == torch.float16
        torch.testing.assert_close(tensor.float(), whole[name], rtol=1e-3, atol=1e-6)
    model, sha256 = run_dir.load_base(tmp_path / "shipped", "pisa_sr", {})
    assert sha256 == sha256_file(tmp_path / "shipped/model.safetensors")
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}
    card = read_card(tmp_path / "shipped", "base")
    assert card["float32"] == sha256_file(tmp_path / "base/model.safetensors")
    assert card["job"] == json.loads(json.dumps(job.as_dict()))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_tiny_base_is_what_its_card_says(name: str) -> None:
    folder = ROOT / TINY_BASES / name
    card = read_card(folder, "base")
    verify_payload(folder, card)
    study = Study.load(ROOT / "config/bases.yaml", ROOT / "datasets")
    assert card["job"] == json.loads(json.dumps(study.pretrain_job(name).as_dict()))
    assert (folder / run_dir.MODEL).stat().st_size < LARGEST[name]
    assert len(losses(folder)) == card["job"]["stages"]["base"]["steps"]
    run_dir.load_base(folder, name, {})


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_the_first_steps_of_a_tiny_base_can_be_repeated(name: str, tmp_path: Path) -> None:
    """From random weights, in the warm-up, which does not depend on the number of steps."""
    datasets = ROOT / "datasets"
    study = Study.load(ROOT / "config/bases.yaml", datasets)
    for manifest in study.manifests.values():
        if manifest.training_folder and not complete(datasets / manifest.id, manifest):
            pytest.skip(how_to_get(manifest, datasets))
    job = study.pretrain_job(name)
    first = Optimisation(**job.stages["base"].model_dump() | {"steps": STEPS})
    assert first.warmup > STEPS
    job = replace(job, stages={"base": first}, heldout=None)
    pretrain(job, study.training_folders(job, datasets), tmp_path / "base", session=QUIET)
    assert losses(tmp_path / "base") == pytest.approx(losses(ROOT / TINY_BASES / name)[:STEPS], rel=1e-3)
