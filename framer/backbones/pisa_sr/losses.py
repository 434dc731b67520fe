"""The losses of PiSA-SR's semantic stage: classifier score distillation and LPIPS."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import vgg16

from framer.backbones.adapted_network import widened
from framer.backbones.pisa_sr.lora import active_sets
from framer.backbones.random import Draws
from framer.errors import UserError, one_line
from framer.weights.store import embedded, folder, missing, verified

if TYPE_CHECKING:
    from framer.backbones.pisa_sr.model import PiSASR

NEGATIVE_PROMPT = (
    "painting, oil painting, illustration, drawing, art, sketch, oil painting, cartoon, CG Style, 3D render, "
    "unreal engine, blurring, dirty, messy, worst quality, low quality, frames, watermark, signature, jpeg artifacts, "
    "deformed, lowres, over-smooth"
)
"""The negative prompt of the released training."""

VGG = "hub/checkpoints/vgg16-397923af.pth"
LPIPS_HEADS = "hub/pyiqa/LPIPS_v0.1_vgg-a78928a0.pth"
"""torchvision's VGG-16 and the weights of LPIPS v0.1 on it, in the folder of weights."""
WEIGHTS = "lpips-vgg"
"""The manifest of these two files."""

_DEPTHS = (3, 8, 15, 22, 29)
_WIDTHS = (64, 128, 256, 512, 512)

Teacher = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def csd_loss(clean: Tensor, teacher: Teacher, alphas: Tensor, timestep: Tensor, noise: Tensor, scale: float) -> Tensor:
    """Classifier score distillation, as the released code has it.

        z_t  = sqrt(abar_t) z + sqrt(1 - abar_t) n,    x0(e) = (z_t - sqrt(1 - abar_t) e) / sqrt(abar_t)
        real = x0(e_neg + scale (e_pos - e_neg)),      fake  = x0(e_neg)
        loss = MSE(z, stopgrad(z - (fake - real) / w)),    w = mean |z - real| per sample

    so that its gradient is 2 (fake - real) / (w N), N the number of elements. No gradient flows through the teacher.

    Args:
        clean: the restored latents z, (B, C, h, w).
        teacher: (z_t, t) -> noise predictions e_neg and e_pos, for the negative and the positive prompts.
        alphas: abar of the noise schedule, (T,).
        timestep: t per sample, (B,) integers in [0, T).
        noise: n, standard normal, (B, C, h, w).
        scale: guidance scale; 7.5 in the released script.

    Returns:
        A scalar.
    """
    with torch.no_grad():
        alpha = alphas.to(clean.device)[timestep].sqrt().reshape(-1, 1, 1, 1)
        sigma = (1 - alpha**2).sqrt()
        noisy = alpha * clean + sigma * noise
        negative, positive = (e.to(widened(e.dtype)) for e in teacher(noisy, timestep))
        fake = (noisy - sigma * negative) / alpha
        real = (noisy - sigma * (negative + scale * (positive - negative))) / alpha
        weight = (clean - real).abs().mean(dim=(1, 2, 3), keepdim=True)
        target = clean - (fake - real) / weight
    return F.mse_loss(clean, target)


def csd(model: "PiSASR", clean: Tensor, tags: list[str], draws: Draws) -> Tensor:
    """`csd_loss` with the base as its teacher: the model's network without LoRA, not a copy.

    Args:
        model: the backbone.
        clean: the restored latents, (B, C, h, w).
        tags: the positive prompt of each.
        draws: random numbers of timesteps, then of the noise.

    Returns:
        A scalar.
    """
    settings, total = model.settings, len(model.alphas)
    low, high = int(settings.csd_from * total), int(settings.csd_to * total)
    timestep = (low + draws.uniform() * (high - low)).long().to(model.device)
    noise = draws.normal(*clean.shape[1:]).to(model.device)
    text = model.text.get([*[NEGATIVE_PROMPT] * len(tags), *tags])

    def teacher(noisy: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        with active_sets(model.network):
            negative, positive = model.noise(torch.cat([noisy] * 2), torch.cat([at] * 2), text).chunk(2)
        return negative, positive

    return csd_loss(clean, teacher, model.alphas, timestep, noise, settings.csd_guidance)


class Perceptual(nn.Module):
    """LPIPS v0.1 on VGG-16: weighted squared differences of normalized features at five depths."""

    def __init__(self, vgg: Path, heads: Path):
        """Read torchvision's VGG-16 and the five 1x1 heads of the LPIPS authors.

        Args:
            vgg: its tensors; those of the classifier are ignored.
            heads: `lin0.model.1.weight` to `lin4.model.1.weight`; may be the same file, safetensors then.

        Raises:
            UserError: a file is missing, damaged, or of another network.
        """
        super().__init__()
        with torch.device("meta"):  # its unused classifier is 0.5 GB
            self.features = vgg16(weights=None).features[: _DEPTHS[-1] + 1]
        self.features.to_empty(device="cpu")
        state = _read(vgg)
        own = {f"features.{name}": tensor for name, tensor in self.features.state_dict().items()}
        self._fill(own, state, vgg)
        self.heads = nn.ParameterList(torch.empty(1, width, 1, 1) for width in _WIDTHS)
        self._fill({f"lin{i}.model.1.weight": head for i, head in enumerate(self.heads)}, _read(heads), heads)
        # The mean and standard deviation of ImageNet, for images in [-1, 1].
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    @classmethod
    def from_weights(cls) -> "Perceptual":
        """Read the files of the folder of weights, published or of a package, checked against their manifest.

        Raises:
            UserError: a file is missing or has another hash.
        """
        for name, files in missing([WEIGHTS]).items():
            raise UserError(
                "the weights of LPIPS with VGG-16, which trains the semantic stage, are missing; "
                f"run: framer fetch --weights {name}; or set lpips: 0",
                path=folder() / files[0],
                code="missing",
            )
        verified([WEIGHTS])
        if packaged := embedded(WEIGHTS):
            return cls(packaged, packaged)
        return cls(folder() / VGG, folder() / LPIPS_HEADS)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Mean distance of images (B, 3, H, W) in [-1, 1]; a scalar. Sides of at least 16 pixels."""
        total = image.new_zeros(())
        x, y = ((one - self.mean) / self.std for one in (image, target))
        heads = iter(self.heads)
        for i, layer in enumerate(self.features):
            x, y = layer(x), layer(y)
            if i in _DEPTHS:
                total = total + ((_normalized(x) - _normalized(y)).square() * next(heads)).sum(dim=1).mean()
        return total

    @staticmethod
    def _fill(own: dict[str, Tensor], state: dict[str, Tensor], path: Path) -> None:
        for name, tensor in own.items():
            if name not in state or state[name].shape != tensor.shape:
                raise UserError(
                    f"no {name!r} of shape {tuple(tensor.shape)} in it; not weights of LPIPS",
                    path=path,
                    code="mismatch",
                )
            tensor.data.copy_(state[name])


def _normalized(features: Tensor) -> Tensor:
    """Unit length across channels. Features of zero stay zero, with a gradient of zero."""
    return features / (features.square().sum(dim=1, keepdim=True) + 1e-20).sqrt()


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(f"not readable weights ({one_line(error)})", path=path, code="unreadable") from None
