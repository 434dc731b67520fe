"""No image is made from numbers that are none."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from framer.backbones.finite import LARGEST, finite
from framer.data.images import write_png
from framer.errors import UserError
from framer.inference.restore import restore
from framer.provenance.hashing import sha256_file
from framer.runs.run_dir import MODEL, load_run
from tests.fixtures.trainings import BACKBONES
from tests.fixtures.untrained import edit_json, write_run


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2 * LARGEST, -2 * LARGEST])
def test_one_value_is_enough(value):
    values = torch.zeros(2, 3)
    assert finite(values, "x") is values
    values[1, 2] = value
    with pytest.raises(UserError) as error:
        finite(values, "x")
    assert error.value.code == "diverged"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    write_png(root / "lr/a.png", image)
    for backbone in BACKBONES:
        write_run(root, backbone)
    return root


@pytest.mark.parametrize(
    ("backbone", "settings"),
    [("pisa_sr", {"lambda_sem": 1e38}), ("dit4sr", {"injection_scale": 1e38})],
)
def test_settings_that_overflow_name_image_step_and_setting(backbone, settings, root, tmp_path):
    with pytest.raises(UserError) as error:
        restore(root / f"runs/{backbone}", root / "lr", tmp_path / "out", settings=settings, progress=False)
    assert (error.value.path, error.value.code) == (str(root / "lr/a.png"), "diverged")
    (name,) = settings
    assert "step 1 of" in str(error.value) and f"{name}=1e+38" in str(error.value)
    assert not (tmp_path / "out/card.json").exists() and not (tmp_path / "out/a.png").exists()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_finite_weights_that_are_huge(backbone, root, tmp_path):
    run = write_run(tmp_path, backbone)
    model, _ = load_run(run)
    weights = {name: tensor.float() * 1e30 for name, tensor in model.adapter_state().items()}
    assert all(tensor.isfinite().all() for tensor in weights.values())
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, run / MODEL)
    card = run / "card.json"
    content = json.loads(card.read_text())
    content["payload"][MODEL] = sha256_file(run / MODEL)
    edit_json(run, "card.json", content)
    with pytest.raises(UserError) as error:
        restore(run, root / "lr", tmp_path / "out", progress=False)
    assert (error.value.path, error.value.code) == (str(root / "lr/a.png"), "diverged")
