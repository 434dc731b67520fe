"""LoRA on disk: every form holds the same bits, other libraries read it, and what is damaged is refused in a line."""

import pickle
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import PeftModel
from safetensors.torch import load_file, save_file

from framer.backbones.pisa_sr import load_lora
from framer.backbones.pisa_sr.config import TINY
from framer.backbones.pisa_sr.lora import active_sets, add_lora, lora_modules, lora_state
from framer.backbones.pisa_sr.lora_file import EMPTY_PROMPT, FORMS, LoraWeights, metadata, read_lora, write_lora
from framer.backbones.random import generator
from framer.errors import UserError

LATENT = torch.randn(1, 4, 8, 8, generator=generator(0))
PROMPT = torch.randn(1, 4, 32, generator=generator(1))


def new_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(**TINY["unet"])


def output(unet) -> torch.Tensor:
    with torch.no_grad():
        return unet(LATENT, 1, encoder_hidden_states=PROMPT, return_dict=False)[0]


@pytest.fixture(scope="module")
def trained():
    """A U-Net whose two sets, of ranks 4 and 6, both do something."""
    unet = new_unet()
    add_lora(unet, "pix", 4)
    add_lora(unet, "sem", 6)
    with torch.no_grad():
        for i, tensor in enumerate(lora_state(unet).values()):
            tensor.copy_(torch.randn(tensor.shape, generator=generator(2, i)) * 0.1)
    return unet


def tensors(unet) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in lora_state(unet).items()}


def weights(unet) -> LoraWeights:
    return LoraWeights.of(tensors(unet), "here")


def official(unet) -> dict:
    """The released file's nine keys, put together without the code under test."""
    content = {}
    for kind, rank in (("pix", 4), ("sem", 6)):
        content[f"lora_rank_unet_{kind}"] = rank
        for group, names in lora_modules(unet).items():
            content[f"unet_lora_{group}_modules_{kind}"] = names
    return content | {"state_dict_unet": tensors(unet)}


@pytest.fixture
def released(trained, tmp_path) -> Path:
    torch.save(official(trained), tmp_path / "pisa_sr.pkl")
    return tmp_path / "pisa_sr.pkl"


def test_the_released_file_loads_into_a_base(trained, released):
    unet = new_unet()
    base = output(unet)
    load_lora(unet, released)
    assert torch.equal(output(unet), output(trained)) and not torch.allclose(base, output(unet), atol=1e-2)
    load_lora(unet, released)  # and once more, into what has LoRA already
    assert torch.equal(output(unet), output(trained))


def test_a_round_trip_is_exact_to_the_bit(released, tmp_path):
    first = torch.load(released, weights_only=True)
    write_lora(read_lora(released), tmp_path / "a.safetensors", "safetensors")
    write_lora(read_lora(tmp_path / "a.safetensors"), tmp_path / "b.pkl", "official")
    second = torch.load(tmp_path / "b.pkl", weights_only=True)
    assert len(second) == 9 and second.keys() == first.keys()
    assert second["state_dict_unet"].keys() == first["state_dict_unet"].keys()
    for name, tensor in first["state_dict_unet"].items():
        assert torch.equal(tensor.view(torch.int32), second["state_dict_unet"][name].view(torch.int32))
    for key in first.keys() - {"state_dict_unet"}:
        same = sorted(first[key]) == sorted(second[key]) if isinstance(first[key], list) else first[key] == second[key]
        assert same, key
    write_lora(read_lora(tmp_path / "b.pkl"), tmp_path / "other.safetensors", "safetensors")
    assert (tmp_path / "other.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def test_writing_twice_gives_the_same_bytes(trained, tmp_path):
    for form in FORMS:
        for name in ("x", "y"):
            write_lora(weights(trained), tmp_path / form / name, form)
        files = {path.relative_to(tmp_path / form): path for path in (tmp_path / form).rglob("*") if path.is_file()}
        for name, path in files.items():
            if name.parts[0] == "x":
                assert path.read_bytes() == files[Path("y", *name.parts[1:])].read_bytes(), name


def test_diffusers_reads_its_folders(trained, tmp_path):
    write_lora(weights(trained), tmp_path / "lora", "diffusers")
    assert sorted(path.name for path in (tmp_path / "lora").iterdir()) == ["pixel", "semantic"]
    unet = new_unet()
    for name in ("pixel", "semantic"):
        unet.load_lora_adapter(tmp_path / "lora" / name, use_safetensors=True, prefix="unet", adapter_name=name)
    unet.set_adapters(["pixel", "semantic"])
    assert torch.allclose(output(unet), output(trained), atol=1e-5)
    unet.set_adapters(["pixel"])
    with active_sets(trained, "pix"):
        assert torch.allclose(output(unet), output(trained), atol=1e-5)


def test_peft_reads_its_folders(trained, tmp_path):
    write_lora(weights(trained), tmp_path / "lora", "peft")
    model = PeftModel.from_pretrained(new_unet(), tmp_path / "lora/pixel", adapter_name="pixel")
    with active_sets(trained, "pix"):
        assert torch.allclose(output(model), output(trained), atol=1e-5)
    merged = model.merge_and_unload()
    with active_sets(trained, "pix"):
        assert torch.allclose(output(merged), output(trained), atol=1e-4)


def test_the_embedding_that_a_run_keeps_is_no_lora(trained, tmp_path):
    save_file(tensors(trained) | {EMPTY_PROMPT: PROMPT}, tmp_path / "run.safetensors", metadata({"pix": 4, "sem": 6}))
    assert read_lora(tmp_path / "run.safetensors").tensors.keys() == lora_state(trained).keys()
    save_file(tensors(trained), tmp_path / "alpha.safetensors", {"pisa_sr": '{"lora_alpha": 4}'})
    with pytest.raises(UserError, match=r"alpha\.safetensors: LoRA alpha 4, not PiSA-SR's 8"):
        read_lora(tmp_path / "alpha.safetensors")


def test_the_pixel_set_alone_is_no_official_checkpoint(trained, tmp_path):
    alone = LoraWeights.of({k: v for k, v in tensors(trained).items() if "_pix." in k}, "here")
    write_lora(alone, tmp_path / "a.safetensors", "safetensors")
    assert read_lora(tmp_path / "a.safetensors").ranks == {"pix": 4}
    with pytest.raises(UserError, match=r"a\.pkl: the official format contains both LoRA sets"):
        write_lora(alone, tmp_path / "a.pkl", "official")
    assert not (tmp_path / "a.pkl").exists()


class Code:
    """Unpickled carelessly, it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_lora(new_unet(), path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_a_pickle_with_code_is_refused_and_not_run(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(official(trained) | {"more": Code()}, tmp_path / "torch.pkl")
    for protocol in (2, 4):
        bare = pickle.dumps({"state_dict_unet": Code()}, protocol=protocol)
        (tmp_path / f"bare{protocol}.pkl").write_bytes(bare)
    for name in ("torch.pkl", "bare2.pkl"):
        assert "could run code, not tensors alone; refused" in refused(tmp_path / name)
    assert "not a readable pickle of weights (not what torch.save writes)" in refused(tmp_path / "bare4.pkl")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("keep", [0, 3, 1000, -1000, -1])
def test_a_truncated_pickle_is_refused(released, keep):
    whole = released.read_bytes()
    released.write_bytes(whole[:keep])
    assert "not a readable pickle of weights" in refused(released)


@pytest.mark.parametrize("text", [b"", b"\x08\0\0\0", b"{}"])
def test_damaged_safetensors_are_refused(tmp_path, text):
    (tmp_path / "x.safetensors").write_bytes(text)
    assert "cannot be read as safetensors" in refused(tmp_path / "x.safetensors")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    assert "no such file" in refused(tmp_path / "x.pkl").lower()
    assert "no such file" in refused(tmp_path / "x.safetensors").lower()


A, B = "conv_in.lora_A.default_encoder_pix.weight", "conv_in.lora_B.default_encoder_pix.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [1, 2], "and 6 more missing"),
        (lambda c: {k: v for k, v in c.items() if k != "lora_rank_unet_sem"}, "lora_rank_unet_sem missing"),
        (lambda c: c | {"state_dict_unet": 3}, "state_dict_unet is not a mapping"),
        (lambda c: c | {"lora_rank_unet_pix": 8}, "lora_rank_unet_pix is 8, its tensors have rank 4"),
        (lambda c: c | {"unet_lora_others_modules_sem": []}, "unet_lora_others_modules_sem lists other modules"),
        (lambda c: drop(c, A), "'conv_in' has B of its pix LoRA, not both A and B"),
        (lambda c: put(c, A, torch.zeros(8, 4, 3, 3)), "is not of rank 8 as the rest of pix"),
        (lambda c: put(put(c, A, torch.zeros(2, 4, 3, 3)), B, torch.zeros(64, 2, 1, 1)), "is not of rank 2"),
        (lambda c: put(c, A, torch.full((4, 4, 3, 3), torch.nan)), "not finite floating-point numbers"),
        (lambda c: put(c, "conv_in.weight", torch.zeros(3)), "'conv_in.weight' is not a LoRA tensor"),
        (lambda c: put(c, A, torch.zeros(4, 9, 3, 3)), r"(4, 9, 3, 3) does not fit a layer of (64, 4, 3, 3)"),
        (lambda c: rename(c, "conv_in", "conv_inn"), "'conv_inn' is not a layer of this U-Net"),
    ],
)
def test_what_is_no_released_checkpoint_is_refused(trained, tmp_path, change, message):
    torch.save(change(official(trained)), tmp_path / "x.pkl")
    assert message in refused(tmp_path / "x.pkl")


def drop(content, name):
    return content | {"state_dict_unet": {k: v for k, v in content["state_dict_unet"].items() if k != name}}


def put(content, name, tensor):
    return content | {"state_dict_unet": content["state_dict_unet"] | {name: tensor}}


def rename(content, old, new):
    state = {
        new + k.removeprefix(old) if k.startswith(f"{old}.") else k: v for k, v in content["state_dict_unet"].items()
    }
    lists = {k: [new if name == old else name for name in v] for k, v in content.items() if isinstance(v, list)}
    return content | lists | {"state_dict_unet": state}


@pytest.mark.parametrize("prefix", ["module.", "base_model.model.", "module.base_model.model.", "_orig_mod.module."])
def test_the_prefixes_of_wrappers_are_taken_off(trained, tmp_path, prefix):
    plain, saved = weights(trained), tmp_path / "lora.safetensors"
    save_file({prefix + name: tensor for name, tensor in plain.tensors.items()}, saved, metadata(plain.ranks))
    content = official(trained)
    content["state_dict_unet"] = {prefix + name: tensor for name, tensor in content["state_dict_unet"].items()}
    for key, value in content.items():
        if isinstance(value, list):
            content[key] = [prefix + name for name in value]
    torch.save(content, tmp_path / "lora.pkl")
    for path in (saved, tmp_path / "lora.pkl"):
        read = read_lora(path)
        assert read.tensors.keys() == plain.tensors.keys()
        assert {group: sorted(names) for group, names in read.modules.items()} == {
            group: sorted(names) for group, names in plain.modules.items()
        }
    first = next(iter(plain.tensors))
    with pytest.raises(UserError, match="twice") as error:
        LoraWeights.of(plain.tensors | {prefix + first: plain.tensors[first]}, "here")
    assert error.value.code == "conflict"


def test_sets_on_different_modules_are_refused(trained):
    state = {k: v for k, v in tensors(trained).items() if not (k.startswith("conv_in.") and "_sem." in k)}
    with pytest.raises(UserError, match="its pixel and semantic LoRA are on different modules"):
        LoraWeights.of(state, "x")


def test_other_ranks_than_those_of_the_u_net_are_refused(trained, released):
    unet = new_unet()
    add_lora(unet, "pix", 4)
    with pytest.raises(UserError, match="unknown tensor"):
        load_lora(unet, released)
    add_lora(unet, "sem", 4)
    before = tensors(unet)
    with pytest.raises(UserError, match=r"has the shape \(6, .*, not \(4, .*it is of another model"):
        load_lora(unet, released)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(unet).items())


def test_safetensors_of_an_export_say_what_names_do_not(trained, tmp_path):
    write_lora(weights(trained), tmp_path / "a.safetensors", "safetensors")
    assert load_file(tmp_path / "a.safetensors").keys() == lora_state(trained).keys()
    assert metadata({"pix": 4, "sem": 6}) == {
        "pisa_sr": '{"lora_alpha": 8, "timestep": 1, "lora_rank_pix": 4, "lora_rank_sem": 6}'
    }
