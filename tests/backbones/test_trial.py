"""What a training would only find after its start is refused before it."""

import pytest
import torch

from framer.backbones.base import Backbone
from framer.backbones.registry import SETTINGS, create
from framer.backbones.trial import check_signatures, try_out
from framer.errors import UserError
from framer.method import FramerLoss, Recipe


@pytest.fixture(params=sorted(SETTINGS))
def backbone(request):
    torch.manual_seed(0)
    model = create(request.param, "tiny", {"lpips": 0} if request.param == "pisa_sr" else {"restore": {"steps": 1}})
    model.adapt(model.settings.stages[0])
    model.add_heads("x0")
    return model


def test_the_backbones_of_this_package_pass_and_stay_as_they_are(backbone):
    weights = {name: p.clone() for name, p in backbone.network.named_parameters()}
    state = torch.get_rng_state()
    for name in Recipe.names():
        try_out(backbone, FramerLoss(Recipe.named(name)), analysis=True)
    try_out(backbone, None, analysis=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, weights[name]) and p.grad is None for name, p in backbone.network.named_parameters())


def test_a_method_with_other_arguments_is_found(backbone, monkeypatch):
    check_signatures(type(backbone))
    for name, other in {
        "add_heads": lambda self: None,
        "restore": lambda self, image, draws, settings, prompt: image,
        "layer_maps": lambda self, batch, space, depth: None,
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(type(backbone), name, other)
            with pytest.raises(UserError) as error:
                check_signatures(type(backbone))
            assert (error.value.key, error.value.code) == (name, "mismatch")


def test_a_missing_layer_is_found(backbone):
    with pytest.raises(UserError) as error:
        try_out(backbone, FramerLoss(Recipe(teacher=40)), analysis=False)
    assert error.value.key == "recipe.teacher"


def test_a_restore_that_changes_the_shape_and_missing_maps_are_found(backbone, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(backbone), "restore", lambda self, image, *_, **__: image[..., 1:])
        with pytest.raises(UserError, match="must keep the shape"):
            try_out(backbone, None, analysis=False)
    monkeypatch.setattr(type(backbone), "layer_maps", Backbone.layer_maps)
    framer = FramerLoss(Recipe.named("released"))
    try_out(backbone, framer, analysis=False)
    with pytest.raises(UserError) as error:
        try_out(backbone, framer, analysis=True)
    assert error.value.key == "analysis"
