"""What the paper's analysis figures show, computed from recorded layers. Nothing here has a gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framer.method.bands import BANDS, multiplicity, radial
from framer.method.loss import adaptive_weights
from framer.method.recipe import Recipe
from framer.method.spectrum import Masks, View


@dataclass(frozen=True)
class Density:
    """A band's distribution of log(1 + |F|) (Fig. 2): mean and standard deviation over maps of each map's density."""

    edges: Tensor
    """(bins + 1,), the same for both bands."""
    mean: Tensor
    """(bins,); its integral over the bins is 1."""
    std: Tensor
    """(bins,), population."""


@torch.no_grad()
def band_densities(
    maps: Tensor, cutoff: float = 0.2, bins: int = 100, clip: tuple[float, float] = (0.0, 0.999)
) -> dict[str, Density]:
    """How spectral magnitudes are distributed in the low and the high ring (Fig. 2).

    Args:
        maps: (N, C, H, W), a layer's maps of N images.
        cutoff: of the rings, as `Recipe.cutoff` with radial masks.
        bins: of the histograms.
        clip: quantiles of all values between which the bins lie; what is outside is left out.
    """
    height, width = maps.shape[-2:]
    maps = maps.detach().double().cpu()
    values = torch.fft.rfft2(maps).abs().log1p()
    low = radial(height, width, cutoff)
    count = multiplicity(width, values).expand(height, -1)
    start, stop = (values.flatten().sort().values[round(q * (values.numel() - 1))].item() for q in clip)
    edges = torch.linspace(start, stop if stop > start else start + 1, bins + 1, dtype=values.dtype)
    densities = {}
    for band, mask in zip(BANDS, (low, ~low), strict=True):
        weight = count[mask].expand(maps.shape[1], -1)
        each = [torch.histogram(x[:, mask], edges, weight=weight.contiguous(), density=True).hist for x in values]
        stack = torch.stack(each).nan_to_num()
        densities[band] = Density(edges, stack.mean(dim=0), stack.std(dim=0, correction=0))
    return densities


@torch.no_grad()
def layer_similarity(students: Sequence[Tensor], teacher: Tensor, recipe: Recipe) -> dict[str, Tensor]:
    """Cosine of every layer to the final one in each band (Figs. 3 and 7): L maps (B, C, H, W) -> (L, B) a band."""
    return {band: terms["similarity"] for band, terms in _compared(students, teacher, recipe).items()}


@torch.no_grad()
def sample_similarity(maps: Tensor, recipe: Recipe) -> dict[str, Tensor]:
    """Cosine between the images of a batch in each band (Fig. 5): (B, C, H, W) -> symmetric (B, B) a band.

    Mind the feature: the magnitudes of two unrelated maps with equal spectra are already at about pi / 4.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    view = View.of(maps, Masks.of(maps, recipe), recipe)
    return {band: getattr(view, band).cosines(getattr(view, band)) for band in BANDS}


@torch.no_grad()
def layer_weights(students: Sequence[Tensor], teacher: Tensor, recipe: Recipe) -> dict[str, dict[str, Tensor]]:
    """FAW and FAM of every layer in each band (Fig. 9), at one moment of training: `faw` and `fam`, (L, B) a band."""
    return {
        band: {key: terms[key] for key in ("faw", "fam")}
        for band, terms in _compared(students, teacher, recipe).items()
    }


def _compared(students: Sequence[Tensor], teacher: Tensor, recipe: Recipe) -> dict[str, dict[str, Tensor]]:
    teacher = teacher.to(torch.promote_types(teacher.dtype, torch.float32))
    masks = Masks.of(teacher, recipe)
    final = View.of(teacher, masks, recipe)
    rows: dict[str, list[dict[str, Tensor]]] = {band: [] for band in BANDS}
    for student in students:
        view = View.of(student.to(teacher.dtype), masks, recipe)
        for band in BANDS:
            own, target = getattr(view, band), getattr(final, band)
            similarity = own.cosine(target)
            weights = adaptive_weights(recipe, own.energy, target.energy, similarity)
            rows[band].append({"similarity": similarity, **weights})
    return {band: {key: torch.stack([row[key] for row in rows[band]]) for key in rows[band][0]} for band in BANDS}
