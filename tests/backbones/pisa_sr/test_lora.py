"""Where LoRA sits on Stable Diffusion 2.1's U-Net, what it is called, and what a switch of sets leaves alone."""

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from framer.backbones.pisa_sr.config import FULL, TINY, Parts
from framer.backbones.pisa_sr.lora import active_sets, add_lora, lora_modules, lora_sets, lora_state, lora_targets


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(**TINY["unet"])


def active(unet):
    """The adapters that act on the first convolution."""
    layer = unet.get_submodule("conv_in")
    return set(layer.active_adapters) & set(layer.lora_A)


def test_modules_and_counts_of_the_released_weights():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**FULL["unet"])
        assert sum(p.numel() for p in unet.parameters()) == 865_910_724
        modules, targets = dict(unet.named_modules()), lora_targets(unet)
        kinds = {
            group: [sum(isinstance(modules[name], kind) for name in names) for kind in (nn.Linear, nn.Conv2d)]
            for group, names in targets.items()
        }
        assert kinds == {"encoder": [72, 22], "decoder": [108, 40], "others": [12, 4]}
        left_out = [name for name, p in unet.named_parameters() if p.ndim > 1 and "norm" not in name]
        left_out = [n for n in left_out if not any(n.removesuffix(".weight") in names for names in targets.values())]
        assert len(left_out) == 24 and all("time_emb" in name for name in left_out)
        add_lora(unet, "pix", 4)
        add_lora(unet, "sem", 4)
    state = lora_state(unet)
    assert len(state) == 1032 and sum(map(len, lora_modules(unet).values())) == 258
    assert lora_modules(unet) == targets
    sizes = dict.fromkeys(unet.peft_config, 0)
    for name, tensor in state.items():
        sizes[name.split(".")[-2]] += tensor.numel()
    counts = {"encoder": 1_253_776, "decoder": 2_425_104, "others": 376_832}
    assert sizes == {f"default_{group}_{kind}": n for kind in ("pix", "sem") for group, n in counts.items()}
    assert sum(tensor.numel() for tensor in lora_state(unet, ["sem"]).values()) == 4_055_712
    assert state["conv_in.lora_A.default_encoder_pix.weight"].shape == (4, 4, 3, 3)
    assert state["conv_in.lora_B.default_encoder_pix.weight"].shape == (320, 4, 1, 1)
    assert "mid_block.attentions.0.proj_in.lora_B.default_others_pix.weight" in state
    assert "up_blocks.3.resnets.2.conv_shortcut.lora_A.default_decoder_sem.weight" in state


def test_the_full_configuration_is_the_published_architecture():
    with torch.device("meta"):
        parts = Parts.random(FULL)
    assert sum(p.numel() for p in parts.codec.parameters()) == 83_653_863
    assert (parts.codec.factor, parts.codec.channels, parts.codec.scale) == (8, 4, 0.18215)


def test_every_update_is_scaled_by_alpha_over_rank(unet):
    add_lora(unet, "pix", 4)
    add_lora(unet, "sem", 16)
    layer = unet.get_submodule("conv_in")
    assert layer.scaling == {"default_encoder_pix": 2.0, "default_encoder_sem": 0.5}
    spread = torch.cat([a.flatten() for name, a in lora_state(unet, ["sem"]).items() if ".lora_A." in name])
    assert spread.std().item() == pytest.approx(1 / 16, rel=0.02)


def test_adding_freezes_all_and_lets_both_sets_act(unet):
    add_lora(unet, "pix", 4)
    assert lora_sets(unet) == ("pix",)
    add_lora(unet, "sem", 4)
    assert lora_sets(unet) == ("pix", "sem")
    assert not any(p.requires_grad for p in unet.parameters())
    assert active(unet) == {"default_encoder_pix", "default_encoder_sem"}


def test_a_switch_of_sets_changes_neither_weights_nor_what_trains(unet):
    add_lora(unet, "pix", 4)
    add_lora(unet, "sem", 4)
    for p in lora_state(unet, ["sem"]).values():
        p.requires_grad_(True)
    trains = {name for name, p in unet.named_parameters() if p.requires_grad}
    with active_sets(unet, "pix"):
        assert active(unet) == {"default_encoder_pix"}
        assert {name for name, p in unet.named_parameters() if p.requires_grad} == trains
    with pytest.raises(RuntimeError), active_sets(unet):
        assert active(unet) == set()
        raise RuntimeError
    assert active(unet) == {"default_encoder_pix", "default_encoder_sem"}
    assert {name for name, p in unet.named_parameters() if p.requires_grad} == trains


def test_lora_of_a_half_precision_base_is_float32(unet):
    unet.to(torch.bfloat16)
    add_lora(unet, "pix", 4)
    assert {p.dtype for p in lora_state(unet).values()} == {torch.float32}
