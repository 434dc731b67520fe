"""Layers become maps: alignment heads for U-Nets, the model's own projection for DiTs, x0 for every prediction."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from framer.errors import UserError
from framer.method.heads import Aligned, AlignmentHeads, final_projection, unpatchify
from framer.method.hooks import record
from framer.method.prediction import compared, to_x0, truth
from tests.fixtures.diffusers_models import small_sd3, small_unet


def test_heads_are_a_convolution_and_a_resize():
    torch.manual_seed(0)
    heads = AlignmentHeads([3, 5], 2)
    features = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 3, 7)]
    maps = heads(features, (8, 9))
    assert [m.shape for m in maps] == [(2, 2, 8, 9)] * 2
    for head, feature, got in zip(heads.heads, features, maps, strict=True):
        resized = F.interpolate(feature, (8, 9), mode="bilinear", align_corners=False)
        assert torch.allclose(got, head(resized), atol=1e-6), "the order of the two does not matter"


def test_heads_train_in_float32_on_a_model_in_half_precision():
    heads = AlignmentHeads([3], 2)
    (got,) = heads([torch.ones(1, 3, 4, 4, dtype=torch.bfloat16)], (4, 4))
    assert got.dtype == torch.float32
    got.sum().backward()
    assert heads.heads[0].weight.grad.isfinite().all()


def test_heads_and_layers_must_be_as_many():
    with pytest.raises(UserError) as error:
        AlignmentHeads([3, 5], 2)([torch.zeros(1, 3, 4, 4)], (4, 4))
    assert (error.value.key, error.value.code) == ("features", "mismatch")


def test_a_unet_with_heads_trains_them_and_is_unchanged_without():
    unet, x, t, text = small_unet(), torch.randn(2, 4, 16, 16), torch.tensor([3, 5]), torch.randn(2, 3, 6)
    before = unet(x, t, text).sample
    aligned = Aligned.around(unet, ["down_blocks.*", "mid_block", "up_blocks.*"], x, t, text)
    assert [head.in_channels for head in aligned.heads.heads] == [8, 16, 16, 16, 8]
    output, maps = aligned(x, t, text)
    assert torch.equal(output, before)
    assert [m.shape for m in maps] == [output.shape] * 5
    sum(m.square().mean() for m in maps).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in aligned.heads.parameters())
    model = aligned.release()
    assert model is unet and torch.equal(unet(x, t, text).sample, before)
    assert not any(m._forward_hooks for m in unet.modules())
    assert not any("heads" in key for key in model.state_dict())


def test_a_layer_that_returns_more_than_its_features_is_selected_from():
    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Pair()

        def forward(self, x):
            return self.block(x)[0][:, :2]

    class Pair(torch.nn.Module):
        def forward(self, x):
            return x, torch.cat([x, x, x], dim=1)

    aligned = Aligned.around(Both(), "block", torch.randn(1, 2, 4, 4), select=lambda output: output[1])
    assert aligned.heads.heads[0].in_channels == 6
    assert aligned(torch.randn(1, 2, 4, 4))[1][0].shape == (1, 2, 4, 4)


def test_the_last_block_through_the_final_projection_is_the_output():
    model = small_sd3().eval()
    blocks = record(model, "transformer_blocks.*", select=lambda out: out[1])
    temb = record(model, "time_text_embed")
    output = model(
        hidden_states=torch.randn(2, 4, 8, 12),
        encoder_hidden_states=torch.randn(2, 3, 6),
        pooled_projections=torch.randn(2, 5),
        timestep=torch.tensor([10.0, 20.0]),
    ).sample
    maps = final_projection(model, list(blocks.take().values()), temb.take()["time_text_embed"], (4, 6))
    assert [m.shape for m in maps] == [output.shape] * 3
    assert torch.equal(maps[-1], output)
    assert not torch.allclose(maps[0], output)


def test_unpatchify_undoes_patches():
    x = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    tokens = torch.stack(
        [x[:, :, r : r + 2, c : c + 2].permute(0, 2, 3, 1).flatten(1) for r in (0, 2) for c in (0, 2, 4)], dim=1
    )
    assert torch.equal(unpatchify(tokens, (2, 3), 2), x)


@pytest.mark.parametrize("kind", ["epsilon", "v", "flow"])
def test_the_true_prediction_gives_back_the_clean_latent(kind):
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    sigma = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    alpha = 1 - sigma if kind == "flow" else (1 - sigma**2).sqrt()
    a, s = alpha[:, None, None, None], sigma[:, None, None, None]
    true = {"epsilon": eps, "v": a * eps - s * x0, "flow": eps - x0}[kind]
    noisy = a * x0 + s * eps
    assert torch.allclose(to_x0(true, kind, noisy, sigma, alpha), x0)
    maps = compared([true, true], "x0", kind, noisy, sigma, alpha)
    assert len(maps) == 2 and torch.allclose(maps[1], x0)
    assert compared([true], "output", kind, noisy, sigma, alpha)[0] is true
    assert torch.allclose(truth(x0, "output", kind, noisy, sigma, alpha), true)
    assert truth(x0, "x0", kind, noisy, sigma, alpha) is x0


def test_a_one_step_residual_is_an_epsilon_prediction():
    one = torch.tensor(1.0)
    lr, residual = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    assert torch.equal(to_x0(residual, "epsilon", lr, one, one), lr - residual)


def test_missing_and_unknown_arguments():
    x, sigma = torch.zeros(1, 1, 2, 2), torch.tensor(0.5)
    for call, key in (
        (lambda: to_x0(x, "v", x, sigma), "alpha"),
        (lambda: to_x0(x, "x0", x, sigma), "kind"),
        (lambda: compared([x], "latent", "flow", x, sigma), "space"),
        (lambda: truth(x, "latent", "flow", x, sigma), "space"),
        (lambda: truth(x, "output", "v", x, sigma), "alpha"),
    ):
        with pytest.raises(UserError) as error:
            call()
        assert error.value.key == key


def test_fitted_heads_are_the_least_squares_readout():
    """Against numpy on the resized features; a target that is one gives back its weights."""
    torch.manual_seed(0)
    heads = AlignmentHeads([3, 5], 2)
    features = [torch.randn(4, 3, 4, 4), torch.randn(4, 5, 8, 8)]
    wanted = nn.Conv2d(5, 2, 1).requires_grad_(False)
    target = wanted(features[1])
    batches = [([x[i : i + 2] for x in features], target[i : i + 2]) for i in (0, 2)]
    heads.fit(batches, ridge=1e-12)
    assert torch.allclose(heads.heads[1].weight, wanted.weight, atol=1e-5)
    assert torch.allclose(heads.heads[1].bias, wanted.bias, atol=1e-5)
    resized = F.interpolate(features[0], (8, 8), mode="bilinear", align_corners=False)
    rows = resized.movedim(1, -1).reshape(-1, 3).double().numpy()
    rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(rows, target.movedim(1, -1).reshape(-1, 2).double().numpy(), rcond=None)
    assert np.allclose(heads.heads[0].weight.detach()[..., 0, 0].T, solution[:-1], atol=1e-5)
    assert np.allclose(heads.heads[0].bias.detach(), solution[-1], atol=1e-5)


def test_more_channels_than_pixels_are_fitted_with_a_penalty_that_spares_the_bias():
    torch.manual_seed(0)
    heads = AlignmentHeads([64], 1)
    heads.fit([([torch.randn(1, 64, 2, 2)], torch.full((1, 1, 4, 4), 7.0))], ridge=1e3)
    assert heads.heads[0].weight.abs().max() < 1e-3
    assert torch.allclose(heads.heads[0].bias, torch.tensor(7.0), atol=1e-2)
