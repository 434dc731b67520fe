"""A distillation loss that reaches no trained weight is an error, and looking for it changes nothing."""

from dataclasses import replace

import pytest
import torch

from framer.backbones.registry import create
from framer.data.pairs import TrainingPairs
from framer.errors import UserError
from framer.method import FramerLoss, Recipe
from framer.runs.runtime import seeded
from framer.training.dataloader import Batches
from framer.training.options import Session
from framer.training.reach import reaches
from framer.training.trainer import Training
from tests.fixtures.photographs import write_photographs
from tests.fixtures.trainings import BACKBONES, SEEDS, base_job, files, optimisation, run_job, train_here

QUIET = Session(progress=False)


class Unconnected(FramerLoss):
    """The loss of maps that have lost their graph."""

    def forward(self, students, teacher, negatives=None, generator=None):
        output = super().forward([x.detach() for x in students], teacher, negatives, generator)
        return replace(output, loss=output.loss + 0 * students[0].sum())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_gradient_of_zero_is_seen_and_nothing_else_changes(backbone, tmp_path):
    write_photographs(tmp_path)
    with seeded(7):
        model = create(backbone, "tiny")
        model.adapt(model.settings.stages[0])
        model.add_heads("x0")
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    batches = Batches(TrainingPairs([tmp_path / "photos"], 32, "pisa_sr", 5), optimisation(1), SEEDS)
    state = torch.get_rng_state()
    recipe = Recipe.named("paper")
    assert reaches(model, FramerLoss(recipe), batches.batch(0)) is True
    assert reaches(model, Unconnected(recipe), batches.batch(0)) is False
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.trainable().values())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    write_photographs(root)
    train_here(root, base_job("pisa_sr", steps=1), root / "bases/pisa_sr", QUIET)
    return root


def test_the_training_stops_before_its_first_step(root, tmp_path, monkeypatch):
    forward = FramerLoss.forward

    def unconnected(self, students, *args, **kwargs):
        output = forward(self, [x.detach() for x in students], *args, **kwargs)
        return replace(output, loss=output.loss + 0 * students[0].sum())

    monkeypatch.setattr(FramerLoss, "forward", unconnected)
    with pytest.raises(UserError, match="stage pixel") as error:
        train_here(root, run_job("pisa_sr", steps=1), tmp_path / "run", QUIET)
    assert (error.value.key, error.value.code) == ("recipe", "diverged")
    assert not (tmp_path / "run/model.safetensors").exists()


def test_the_check_changes_no_byte_of_a_run(root, tmp_path, monkeypatch):
    job = run_job("pisa_sr", steps=2, accumulate=2)
    train_here(root, job, root / "runs/checked", QUIET)
    monkeypatch.setattr(Training, "_check_reach", lambda *_: None)
    train_here(root, job, root / "runs/unchecked", QUIET)
    assert files(root / "runs/checked") == files(root / "runs/unchecked")
