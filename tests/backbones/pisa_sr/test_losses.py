"""Classifier score distillation against its closed form, and LPIPS against pyiqa's, on the same random weights."""

import hashlib

import pytest
import torch
from pyiqa.archs import lpips_arch
from torch import nn
from torchvision.models import vgg16

from framer.backbones.pisa_sr.losses import LPIPS_HEADS, VGG, Perceptual, csd_loss
from framer.backbones.random import generator
from framer.errors import UserError

CLEAN = torch.randn(3, 4, 6, 5, generator=generator(0), dtype=torch.float64)
NOISE = torch.randn(3, 4, 6, 5, generator=generator(1), dtype=torch.float64)
TIMESTEP = torch.tensor([20, 300, 499])
ALPHAS = torch.linspace(0.999, 0.01, 1000, dtype=torch.float64)


def teacher(noisy, timestep):
    level = timestep.reshape(-1, 1, 1, 1) / 1000
    return noisy.tanh() * level, (noisy * 2).sin() + level


def test_csd_is_its_closed_form():
    """Sample by sample, with scalars."""
    clean = CLEAN.clone().requires_grad_()
    loss = csd_loss(clean, teacher, ALPHAS, TIMESTEP, NOISE, 7.5)
    loss.backward()
    expected, gradients = 0.0, []
    for z, n, t in zip(CLEAN, NOISE, TIMESTEP, strict=True):
        abar = ALPHAS[t].item()
        z_t = abar**0.5 * z + (1 - abar) ** 0.5 * n
        e_neg, e_pos = (e[0].float() for e in teacher(z_t[None], t[None]))
        e_cfg = e_neg + 7.5 * (e_pos - e_neg)
        fake, real = ((z_t - (1 - abar) ** 0.5 * e) / abar**0.5 for e in (e_neg, e_cfg))
        g = (fake - real) / (z - real).abs().mean()
        expected += (g**2).sum().item() / CLEAN.numel()
        gradients.append(2 * g / CLEAN.numel())
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert torch.allclose(clean.grad, torch.stack(gradients), rtol=1e-5, atol=1e-9)


def test_csd_without_guidance_pulls_nowhere():
    clean = CLEAN.clone().requires_grad_()
    loss = csd_loss(clean, teacher, ALPHAS, TIMESTEP, NOISE, 0.0)
    loss.backward()
    assert loss.item() == 0 and not clean.grad.any()


def test_no_gradient_goes_through_the_teacher():
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)

    def trained(noisy, timestep):
        assert not torch.is_grad_enabled()
        return noisy * weight, noisy * weight * 2

    csd_loss(CLEAN.clone().requires_grad_(), trained, ALPHAS, TIMESTEP, NOISE, 7.5).backward()
    assert weight.grad is None


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """VGG-16's features at random, and random positive heads, as their publishers name the tensors."""
    folder = tmp_path_factory.mktemp("lpips")
    torch.manual_seed(0)
    with torch.device("meta"):
        features = vgg16(weights=None).features[:30]
    features.to_empty(device="cpu")
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
    torch.save({f"features.{name}": tensor for name, tensor in features.state_dict().items()}, folder / "vgg.pth")
    heads = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate((64, 128, 256, 512, 512))}
    torch.save(heads, folder / "heads.pth")
    return folder / "vgg.pth", folder / "heads.pth", features


def test_lpips_equals_pyiqas(files, monkeypatch):
    vgg, heads, features = files
    own = Perceptual(vgg, heads)

    class Network:
        def __init__(self, weights):
            self.features = features

    monkeypatch.setattr(lpips_arch.models, "vgg16", Network)
    theirs = lpips_arch.LPIPS(net="vgg", pretrained_model_path=str(heads))
    image, target = (torch.rand(2, 3, 40, 33, generator=generator(5, i)) * 2 - 1 for i in range(2))
    image.requires_grad_()
    expected = theirs(image, target, normalize=False).mean()
    (wanted,) = torch.autograd.grad(expected, image)
    loss = own(image, target)
    (gradient,) = torch.autograd.grad(loss, image)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (gradient - wanted).norm() < 1e-4 * wanted.norm()
    assert own(target, target).item() == 0
    assert not any(p.requires_grad for p in own.parameters())


def test_features_of_zero_give_no_nan(files):
    vgg, heads, _ = files
    own = Perceptual(vgg, heads)
    with torch.no_grad():
        for p in own.features.parameters():
            p.zero_()
    image = torch.zeros(1, 3, 16, 16, requires_grad=True)
    own(image, torch.ones(1, 3, 16, 16)).backward()
    assert image.grad is not None and image.grad.isfinite().all()


def test_missing_and_wrong_weights_are_one_line(files, tmp_path, monkeypatch):
    _, heads, _ = files
    monkeypatch.setenv("FRAMER_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="run: framer fetch --weights lpips-vgg; or") as error:
        Perceptual.from_weights()
    assert (error.value.path, error.value.code) == (str(tmp_path / LPIPS_HEADS), "missing")
    for name in (VGG, LPIPS_HEADS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"starts with 2d711642, that of the published file with (397923af|a78928a0)"):
        Perceptual.from_weights()
    with pytest.raises(UserError, match=r"heads\.pth: no 'features\.0\.weight' of shape"):
        Perceptual(heads, heads)
    with pytest.raises(UserError, match=r"vgg16.*: not readable weights"):
        Perceptual(tmp_path / VGG, heads)
    assert hashlib.sha256(b"x").hexdigest()[:8] not in VGG
