"""DiT4SR: the published counts, two independent second implementations, and what its gradients must be."""

import pytest
import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

from framer.backbones.dit4sr.config import FULL
from framer.backbones.dit4sr.model import DiT4SRTransformer
from framer.backbones.random import generator
from framer.errors import UserError
from tests.backbones.dit4sr.functional_dit4sr import forward

SMALL = {
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 32,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 64,
    "out_channels": 16,
    "pos_embed_max_size": 24,
    "dual_attention_layers": (0, 1),
    "qk_norm": "rms_norm",
}


def random_network(**options):
    """All parameters random: at their zero start the LR stream would be invisible."""
    network = DiT4SRTransformer(**SMALL, **options)
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator(1, i)) * 0.2)
    return network


def inputs(height=8, width=12):
    numbers = [
        torch.randn(*shape, generator=generator(2, *shape)) for shape in ((2, 16, height, width), (2, 5, 32), (2, 64))
    ]
    lr = torch.randn(2, 16, height, width, generator=generator(3))
    return numbers[0], lr, numbers[1], numbers[2], torch.tensor([37.0, 870.0])


def test_counts_of_the_released_model():
    with torch.device("meta"):
        network = DiT4SRTransformer(**FULL["transformer"])
    state = network.state_dict()
    control = {name: p.numel() for name, p in network.named_parameters() if "control" in name}
    live = {name: p.numel() for name, p in network.live_control().items()}
    assert sum(p.numel() for p in network.parameters()) == 2_716_814_144
    assert (len(state), sum(t.numel() for t in state.values())) == (1383, 2_943_306_560)
    assert (len(control), sum(control.values())) == (344, 350_877_696)
    assert (len(live), sum(live.values())) == (270, 263_526_912)
    with torch.device("meta"):
        assert DiT4SRTransformer(**FULL["transformer"], key="fixed").live_control().keys() == control.keys()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 12)])
@pytest.mark.parametrize("key", ["released", "fixed"])
def test_agrees_with_an_independent_forward(key, height, width):
    network, given = random_network(key=key, injection_scale=1.2), inputs(height, width)
    with torch.no_grad():
        expected = forward(network.state_dict(), SMALL, *given, key=key, scale=1.2)
        assert torch.allclose(network(*given), expected, atol=1e-5)
        other = "fixed" if key == "released" else "released"
        assert (expected - forward(network.state_dict(), SMALL, *given, key=other, scale=1.2)).abs().max() > 1e-2
        assert (expected - forward(network.state_dict(), SMALL, *given, key=key, scale=1.0)).abs().max() > 1e-3


def test_without_an_lr_stream_it_is_stable_diffusion_3():
    ours, stock = random_network(), SD3Transformer2DModel(**SMALL)
    stock.load_state_dict({name: ours.state_dict()[name] for name in stock.state_dict()})
    noisy, _, text, pooled, timestep = inputs()
    with torch.no_grad():
        expected = stock(noisy, text, pooled, timestep, return_dict=False)[0]
        assert torch.allclose(ours(noisy, None, text, pooled, timestep), expected, atol=1e-6)


def test_at_its_start_the_lr_image_changes_nothing():
    network, (noisy, lr, *rest) = DiT4SRTransformer(**SMALL), inputs()
    with torch.no_grad():
        assert torch.equal(network(noisy, lr, *rest), network(noisy, -lr, *rest))
        assert not torch.equal(network(noisy, lr, *rest), network(noisy, None, *rest))


def test_dead_weights_get_no_gradient():
    network = random_network()
    network(*inputs()).square().sum().backward()
    dead = {name for name, p in network.named_parameters() if p.grad is None}
    text = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "norm_added_q", "norm_added_k")
    assert dead == {
        name
        for name, _ in network.named_parameters()
        if "to_k_control" in name or ("attn2" in name and any(part in name for part in text))
    }
    fixed = random_network(key="fixed")
    fixed(*inputs()).square().sum().backward()
    assert all(p.grad is not None for name, p in fixed.named_parameters() if "control" in name)


def test_gradients_that_are_zero():
    """The last block's text queries are read by nothing: its text stream ends there."""
    network = random_network()
    network(*inputs()).square().sum().backward()
    last = network.transformer_blocks[-1].attn
    for parameter in (last.add_q_proj.weight, last.add_q_proj.bias, last.norm_added_q.weight):
        assert not parameter.grad.any()
    assert last.add_k_proj.weight.grad.any() and last.add_v_proj.weight.grad.any()


@pytest.mark.parametrize("key", ["released", "fixed"])
def test_fused_projections_give_the_same(key):
    network, given = random_network(key=key), inputs()
    names = set(network.state_dict())
    with torch.no_grad():
        expected = network(*given)
        assert not network.fused and network.fuse_for_inference().fused
        fused = network.fuse_for_inference()(*given)
    assert torch.allclose(fused, expected, atol=1e-4 * expected.abs().max())
    left = set(network.state_dict())
    assert not any(part in name for name in left for part in ("to_q", "to_k", "to_v.", "to_v_control", "add_q_proj"))
    assert {"transformer_blocks.0.attn.to_out_control.weight", "pos_embed.pos_embed"} <= left & names


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        network = random_network()
        if checkpointing:
            network.enable_gradient_checkpointing()
            calls = []
            network.transformer_blocks[1].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        network(*inputs()).square().sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    assert len(calls) == 2  # once forward, once more backward
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_position_codes_of_tiles_are_those_of_the_image():
    network = random_network()
    noisy, lr, *rest = inputs(12, 16)
    whole = network.codes_at((12, 16), [(0, 0)], (12, 16)).expand(2, -1, -1)
    with torch.no_grad():
        assert torch.equal(network(noisy, lr, *rest, whole), network(noisy, lr, *rest))
    grid = whole[0].unflatten(0, (6, 8))
    tiles = network.codes_at((12, 16), [(0, 0), (4, 6)], (8, 10))
    assert torch.equal(tiles[0], grid[:4, :5].flatten(0, 1)) and torch.equal(tiles[1], grid[2:6, 3:8].flatten(0, 1))
    with pytest.raises(UserError, match="25 x 5 tokens exceeds the table of 24 x 24"):
        network.codes_at((50, 10), [(0, 0)], (8, 8))


@pytest.mark.parametrize("output", ["random", "cloned"])
def test_control_weights_start_as_released_or_as_in_the_paper(output):
    network = random_network()
    network.start_control(output)
    for name, parameter in network.control().items():
        if "to_out_control" not in name:
            assert not parameter.any(), name
            continue
        base = network.get_parameter(name.replace("to_out_control", "to_out.0"))
        assert torch.equal(parameter, base) == (output == "cloned") and parameter.any()


def test_what_it_saves_comes_back_and_no_other_class_reads_it(tmp_path):
    network = random_network()
    network.save_pretrained(tmp_path)
    again = DiT4SRTransformer.from_pretrained(tmp_path)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(OSError, match="no file named"):
        SD3Transformer2DModel.from_pretrained(tmp_path)


def test_it_reads_nothing_else_silently(tmp_path):
    SD3Transformer2DModel(**SMALL).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"not a whole DiT4SR transformer .missing keys: .* and 65 more"):
        DiT4SRTransformer.from_pretrained(tmp_path)


def test_the_released_key_needs_a_norm():
    with pytest.raises(UserError) as error:
        DiT4SRTransformer(**SMALL | {"qk_norm": None})
    assert (error.value.key, error.value.code) == ("qk_norm", "conflict")
    DiT4SRTransformer(**SMALL | {"qk_norm": None}, key="fixed")
