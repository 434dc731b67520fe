"""Base, whole and delta checkpoints of DiT4SR: what goes in comes out, and nothing wrong goes in."""

import json
import shutil

import pytest
import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from framer.backbones.dit4sr.model import DiT4SRTransformer
from framer.backbones.dit4sr.transformer import move
from framer.backbones.dit4sr.weights_file import export, open_transformer, read_delta
from framer.backbones.random import generator
from framer.errors import UserError
from tests.backbones.dit4sr.tiny_sd35 import TRANSFORMER

NAME = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(1)
    SD3Transformer2DModel(**TRANSFORMER).save_pretrained(tmp_path / "base/transformer")
    return tmp_path / "base"


@pytest.fixture
def released(tmp_path, base):
    """The released layout: usual name, stock class in the configuration, float16, trained weights in float32."""
    torch.manual_seed(2)
    network = DiT4SRTransformer(**TRANSFORMER)
    network.load_state_dict(load_file(base / "transformer" / NAME), strict=False)
    with torch.no_grad():
        for i, (name, parameter) in enumerate(network.control().items()):
            if "to_k_control" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator(i)) * 0.1)
    state = {name: t if "control" in name else t.half() for name, t in network.state_dict().items()}
    folder = tmp_path / "released"
    folder.mkdir()
    save_file(state, folder / NAME)
    config = json.loads((base / "transformer/config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_diffusers_version": "0.31.0"}))
    return folder


def outputs(network, dtype=torch.float32):
    move(network, "cpu", dtype)
    g = generator(9)
    shapes = ((1, 4, 8, 12), (1, 4, 8, 12), (1, 5, 32), (1, 16))
    with torch.no_grad():
        return network(*(torch.randn(shape, generator=g).to(dtype) for shape in shapes), torch.tensor([500.0]))


def test_a_base_lacks_what_is_trained(base):
    network, trained = open_transformer(base / "transformer", "released")
    assert not trained
    assert all(not p.any() for p in network.control().values())
    state = load_file(base / "transformer" / NAME)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in state.items())


def test_a_released_folder_loads_strictly_in_its_mixed_dtypes(released):
    network, trained = open_transformer(released, "released")
    assert trained and network.key == "released"
    state = load_file(released / NAME)
    own = network.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(t, own[name]) and t.dtype == own[name].dtype for name, t in state.items())
    assert {t.dtype for t in own.values()} == {torch.float16, torch.float32}
    assert torch.equal(outputs(network), outputs(DiT4SRTransformer.from_pretrained(released, dtype=torch.float32)))


def test_shards_are_read(released):
    state = load_file(released / NAME)
    names = sorted(state)
    index = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"diffusion_pytorch_model-{number}.safetensors"
        save_file({name: state[name] for name in part}, released / file)
        index |= dict.fromkeys(part, file)
    (released / NAME).unlink()
    (released / f"{NAME}.index.json").write_text(json.dumps({"weight_map": index}))
    network, trained = open_transformer(released, "released")
    assert trained and all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in state.items())


def test_whole_to_delta_to_whole(tmp_path, base, released):
    export(released / NAME, tmp_path / "delta.safetensors", "delta", base)
    delta = read_delta(tmp_path / "delta.safetensors")
    assert delta.keys() == DiT4SRTransformer(**TRANSFORMER).control().keys()
    export(tmp_path / "delta.safetensors", tmp_path / "whole", "whole", base)
    made, given = open_transformer(tmp_path / "whole", "released")[0], open_transformer(released, "released")[0]
    differing = {name for name, t in made.state_dict().items() if not torch.equal(t, given.state_dict()[name])}
    assert differing and all(".attn2." in name and ("add" in name) for name in differing)  # unused weights
    assert torch.equal(outputs(made), outputs(given))
    (file,) = (tmp_path / "whole").glob("*.safetensors")
    export(file, tmp_path / "again.safetensors", "delta", base)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "delta.safetensors").read_bytes()


def test_only_on_request_a_whole_has_the_name_that_other_classes_read(tmp_path, base, released):
    for form in ("whole", "official"):
        export(released / NAME, tmp_path / form, form, base)
    with pytest.raises(OSError, match="no file named"):
        SD3Transformer2DModel.from_pretrained(tmp_path / "whole")
    assert (tmp_path / "official" / NAME).is_file()
    assert torch.equal(
        outputs(DiT4SRTransformer.from_pretrained(tmp_path / "official", dtype=torch.float32)),
        outputs(open_transformer(tmp_path / "whole", "released")[0]),
    )


def test_a_run_of_live_weights_becomes_whole(tmp_path, base, released):
    live = {name: t for name, t in load_file(released / NAME).items() if "control" in name and "to_k" not in name}
    save_file(live, tmp_path / "run.safetensors")
    export(tmp_path / "run.safetensors", tmp_path / "whole", "whole", base)
    network, trained = open_transformer(tmp_path / "whole", "released")
    assert trained and torch.equal(outputs(network), outputs(open_transformer(released, "released")[0]))


def test_a_delta_is_of_one_base(tmp_path, base, released):
    delta = tmp_path / "delta.safetensors"
    export(released / NAME, delta, "delta", base)
    torch.manual_seed(5)
    SD3Transformer2DModel(**TRANSFORMER).save_pretrained(tmp_path / "other/transformer")
    for source, form, out in ((delta, "whole", "whole"), (released / NAME, "delta", "d.safetensors")):
        with pytest.raises(UserError) as error:
            export(source, tmp_path / out, form, tmp_path / "other")
        assert (error.value.path, error.value.code) == (str(source), "mismatch")
        assert not (tmp_path / out).exists()
    with safe_open(delta, "pt") as file:
        assert set(file.metadata()) == {"dit4sr-delta"}


def test_forms_that_need_a_base_or_do_not_exist(tmp_path, released):
    for form, key, code in (("whole", "--base", "missing"), ("peft", "--to", "unknown")):
        with pytest.raises(UserError) as error:
            export(released / NAME, tmp_path / "out", form, None)
        assert (error.value.key, error.value.code) == (key, code)


def test_what_does_not_fit_is_one_line(tmp_path, base, released):
    state = load_file(released / NAME)
    control = min(name for name in state if "control" in name)
    frozen = "proj_out.weight"
    for spoilt, words in (
        ({k: v for k, v in state.items() if k != control}, f"missing tensor {control!r}"),
        ({k: v for k, v in state.items() if k != frozen}, f"missing tensor {frozen!r}"),
        (state | {"extra": torch.zeros(1)}, "unknown tensor 'extra'"),
        (state | {frozen: torch.zeros(3, 3)}, r"has the shape \(3, 3\)"),
    ):
        save_file(spoilt, released / NAME)
        with pytest.raises(UserError, match=words) as caught:
            open_transformer(released, "released")
        assert "\n" not in str(caught.value)
    (released / NAME).write_bytes(b"no weights")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        open_transformer(released, "released")
    (released / NAME).unlink()
    with pytest.raises(UserError, match="contains no diffusion_pytorch_model"):
        open_transformer(released, "released")
    shutil.rmtree(released)
    with pytest.raises(UserError, match=r"config\.json: missing"):
        open_transformer(released, "released")
    with pytest.raises(UserError, match="not a delta of DiT4SR"):
        read_delta(base / "transformer" / NAME)
    with pytest.raises(UserError, match="no control weights"):
        export(base / "transformer" / NAME, tmp_path / "d.safetensors", "delta", base)
