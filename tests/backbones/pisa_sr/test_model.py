"""PiSA-SR: the published module lists and counts, LoRA's algebra, and a frozen base."""

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn

from framer.backbones.base import Batch
from framer.backbones.image_ops import upsample
from framer.backbones.pisa_sr import load_lora
from framer.backbones.pisa_sr.lora import lora_state, lora_targets
from framer.backbones.random import Draws, generator
from framer.backbones.registry import create
from framer.errors import UserError
from framer.method import FramerLoss, Recipe

LR = torch.rand(2, 3, 8, 8, generator=generator(0))
START = upsample(LR)
HR = torch.rand(2, 3, 32, 32, generator=generator(1))


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return create("pisa_sr", "tiny")


def draws():
    return Draws.of_step(0, 0, 0, 2)


def perturbed(backbone, scale=0.1):
    """Random LoRA weights in place of B = 0, and a last layer that lets them through."""
    with torch.no_grad():
        backbone.network.get_parameter("conv_out.base_layer.weight").normal_(0, scale, generator=generator(2))
        for i, tensor in enumerate(lora_state(backbone.network).values()):
            tensor.copy_(torch.randn(tensor.shape, generator=generator(3, i)) * scale)


def test_lora_modules_and_counts_of_the_released_weights():
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=1024,
            attention_head_dim=[5, 10, 20, 20],
            use_linear_projection=True,
        )
    assert sum(p.numel() for p in unet.parameters()) == 865_910_724
    modules = dict(unet.named_modules())
    targets = lora_targets(unet)
    sizes = {}
    for group, names in targets.items():
        weights = [modules[name].weight for name in names]
        # A: rank x (inputs x kernel); B: outputs x rank.
        sizes[group] = sum(4 * (w[0].numel() + w.shape[0]) for w in weights)
    kinds = {
        g: [sum(isinstance(modules[n], k) for n in names) for k in (nn.Linear, nn.Conv2d)]
        for g, names in targets.items()
    }
    assert kinds == {"encoder": [72, 22], "decoder": [108, 40], "others": [12, 4]}
    assert sizes == {"encoder": 1_253_776, "decoder": 2_425_104, "others": 376_832}


def test_untrained_it_is_bicubic_exactly(tiny):
    with torch.no_grad():
        assert torch.equal(
            tiny.restore(START, draws(), tiny.settings.restore), tiny.codec.decode(tiny.codec.encode(START))
        )
        assert (tiny.restore_image(LR, draws(), tiny.settings.restore) - START).abs().max() < 1e-6


def test_fresh_lora_changes_nothing(tiny):
    with torch.no_grad():
        tiny.network.conv_out.weight.normal_(generator=generator(4))
        before = tiny.restore(START, draws(), tiny.settings.restore)
        tiny.adapt("pixel")
        assert torch.equal(tiny.restore(START, draws(), tiny.settings.restore), before)


def test_lora_is_the_base_plus_twice_b_a(tiny):
    """alpha 8 at rank 4: an update of 2 B A, checked by merging it into a plain U-Net by hand."""
    torch.manual_seed(0)
    plain = create("pisa_sr", "tiny")
    tiny.adapt("pixel")
    perturbed(tiny)
    lora = lora_state(tiny.network)
    base = {name: p for name, p in tiny.network.named_parameters() if name not in lora}
    merged = {name.replace(".base_layer", ""): p.detach().clone() for name, p in base.items()}
    for name, a in lora.items():
        if ".lora_A." in name:
            b = lora[name.replace(".lora_A.", ".lora_B.")]
            weight = merged[name.split(".lora_A.")[0] + ".weight"]
            weight += 2 * (b.flatten(1) @ a.flatten(1)).reshape(weight.shape)
    plain.network.load_state_dict(merged)
    with torch.no_grad():
        expected = plain.restore(START, draws(), tiny.settings.restore)
        assert torch.allclose(tiny.restore(START, draws(), tiny.settings.restore), expected, atol=1e-4)
        assert (expected - START).abs().max() > 0.05


def test_training_moves_lora_and_not_one_bit_of_the_base(tiny):
    tiny.adapt("pixel")
    tiny.add_heads("x0")
    trained = tiny.trainable()
    before = {name: p.detach().clone() for name, p in tiny.network.named_parameters()}
    optimiser = torch.optim.AdamW(trained.values(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        tiny.training_loss(Batch(LR, HR, ("a", "b"), draws()), FramerLoss(Recipe.named("released"))).total.backward()
        optimiser.step()
    moved = {name for name, p in tiny.network.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all(".lora_" in name for name in moved)
    # Cross-attention to the one prompt that never changes reaches every LoRA weight, too.
    assert moved == set(lora_state(tiny.network))


def test_heads_are_no_part_of_what_is_saved_or_restores(tiny):
    tiny.adapt("pixel")
    perturbed(tiny)
    with torch.no_grad():
        before, names = tiny.restore(START, draws(), tiny.settings.restore), set(tiny.adapter_state())
        plain = tiny.training_loss(Batch(LR, HR, ("a", "b"), draws()))
        tiny.add_heads("x0")
        framed = tiny.training_loss(Batch(LR, HR, ("a", "b"), draws()), FramerLoss(Recipe.named("released")))
        assert torch.equal(before, tiny.restore(START, draws(), tiny.settings.restore))
    assert set(tiny.adapter_state()) == names and all(".lora_" in name for name in names)
    assert sum(name.startswith("heads.") for name in tiny.trainable()) == 2 * 5  # two down, one mid, two up
    assert torch.equal(framed.terms["l2"], plain.total) and framed.terms["framer"] > 0


def test_l2_is_the_mean_squared_error_in_the_range_of_two(tiny):
    expected = (START * 2 - HR * 2).square().mean()
    assert torch.allclose(tiny.training_loss(Batch(LR, HR, ("a", "b"), draws())).total, expected)


def test_lora_goes_out_and_into_a_fresh_u_net(tiny, tmp_path):
    torch.manual_seed(0)
    fresh = create("pisa_sr", "tiny")
    tiny.adapt("pixel")
    perturbed(tiny)
    path = tmp_path / "lora.safetensors"
    save_file({name: t.detach() for name, t in tiny.adapter_state().items()}, path)
    load_lora(fresh.network, path)
    assert lora_state(fresh.network).keys() == lora_state(tiny.network).keys()
    assert all(torch.equal(t, lora_state(fresh.network)[name]) for name, t in lora_state(tiny.network).items())
    adapters = {name.split(".")[-2] for name in lora_state(fresh.network)}
    assert adapters == {"default_encoder_pix", "default_decoder_pix", "default_others_pix"}


def test_bad_lora_files_are_one_line(tiny, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\x08\0\0\0")
    with pytest.raises(UserError, match=r"x\.safetensors: cannot be read"):
        load_lora(tiny.network, path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"x\.safetensors: 'a' is not a LoRA tensor of PiSA-SR"):
        load_lora(tiny.network, path)
