"""The quantities of the paper's analysis figures, computed from recorded layers, without gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framer.method.bands import BANDS, multiplicity, radial
from framer.method.loss import adaptive_weights
from framer.method.recipe import Recipe
from framer.method.spectrum import Masks, split


@dataclass(frozen=True)
class Density:
    """Distribution of log(1 + |F|) in a band (Fig. 2): mean and standard deviation over maps of each map's density."""

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
    """Histogram spectral magnitudes in the low and the high ring (Fig. 2).

    Args:
        maps: (N, C, H, W), one layer's maps of N images.
        cutoff: radius between the rings, as `Recipe.cutoff` with radial masks.
        bins: number of bins per histogram.
        clip: quantiles of all values between which the bins lie; values outside are not counted.
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
    """Cosine of every layer to the final one in each band (Figs. 3 and 7): L maps (B, C, H, W) -> (L, B) per band."""
    return {band: terms["similarity"] for band, terms in _compared(students, teacher, recipe).items()}


@torch.no_grad()
def sample_similarity(maps: Tensor, recipe: Recipe) -> dict[str, Tensor]:
    """Cosine between the images of a batch in each band (Fig. 5): (B, C, H, W) -> symmetric (B, B) per band.

    With magnitude features, two unrelated maps with equal spectra already have a cosine of about pi / 4.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    views = split(maps, Masks.of(maps, recipe), recipe)
    return {band: view.cosines(view) for band, view in views.items()}


@torch.no_grad()
def layer_weights(students: Sequence[Tensor], teacher: Tensor, recipe: Recipe) -> dict[str, dict[str, Tensor]]:
    """FAW and FAM of every layer in each band (Fig. 9), at one step of training: `faw` and `fam`, (L, B) per band."""
    return {
        band: {key: terms[key] for key in ("faw", "fam")}
        for band, terms in _compared(students, teacher, recipe).items()
    }


def _compared(students: Sequence[Tensor], teacher: Tensor, recipe: Recipe) -> dict[str, dict[str, Tensor]]:
    teacher = teacher.to(torch.promote_types(teacher.dtype, torch.float32))
    masks = Masks.of(teacher, recipe)
    final = split(teacher, masks, recipe)
    rows: dict[str, list[dict[str, Tensor]]] = {band: [] for band in final}
    for student in students:
        views = split(student.to(teacher.dtype), masks, recipe)
        for band, target in final.items():
            own = views[band]
            similarity = own.cosine(target)
            weights = adaptive_weights(recipe, own.energy, target.energy, similarity)
            rows[band].append({"similarity": similarity, **weights})
    return {
        band: {key: torch.stack([row[key] for row in of_band]) for key in of_band[0]} for band, of_band in rows.items()
    }
