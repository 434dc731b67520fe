"""The representation of maps that the loss compares: spectra, band energies, cosines.

A map's spectrum here is its half spectrum with every coefficient scaled by the root of its multiplicity. Inner products
over it are then those over the full spectrum, at half the work.

The computation is bound by memory traffic, so two gradients are written out: each in as few passes as possible, in
place, and without saving tensors that the loss does not already hold.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from framer.method import bands
from framer.method.recipe import Recipe

EPS = 1e-9
"""Added to an area or an energy in a denominator, as in the released code."""


class _Magnitude(torch.autograd.Function):
    """v = sqrt(c) |F|, F the half spectrum and c its multiplicity.

    With dL/dv = g, dL/dx is the unscaled inverse transform of F g / v. The gradient is zero where F is zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        real, imaginary = torch.view_as_real(torch.fft.rfft2(x)).unbind(-1)
        # Three times as fast as abs() on a CPU; the squares hold for magnitudes from 1e-19 to 1e19.
        scaled = (real * real).addcmul_(imaginary, imaginary).sqrt_().mul_(bands.multiplicity(x.shape[-1], x).sqrt_())
        ctx.save_for_backward(x, scaled)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        x, scaled = ctx.saved_tensors
        ratio = scaled.clamp_min(1e-20).reciprocal_().mul_(gradient)
        # Transforming x again costs less than keeping its spectrum.
        spectrum = torch.fft.rfft2(x)
        for part in torch.view_as_real(spectrum).unbind(-1):
            part.mul_(ratio)
        # norm="forward" leaves the inverse transform unscaled, which makes it the adjoint.
        return torch.fft.irfft2(spectrum, s=x.shape[-2:], norm="forward")


class _Products(torch.autograd.Function):
    """Inner products of one band's unit vectors with keys that carry no gradient: (B, D) and (N, D) -> (B, N)."""

    @staticmethod
    def forward(
        ctx: Any, feature: Tensor, mask: Tensor | None, value: Tensor, inverse: Tensor, *keys: Tensor
    ) -> Tensor:
        products = torch.cat([value @ key.T for key in keys], dim=1) * inverse[:, None]
        ctx.save_for_backward(mask, value, inverse, products, *keys)
        ctx.shape = feature.shape
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        mask, value, inverse, products, *keys = ctx.saved_tensors
        radial = (gradient * products).sum(dim=1) * inverse.square()
        out = value * -radial[:, None]
        for key, part in zip(keys, (gradient * inverse[:, None]).split([len(key) for key in keys], dim=1), strict=True):
            out.addmm_(part, key)
        out = out.view(ctx.shape)
        return (out if mask is None else out.mul_(mask), None, None, None, *(None for _ in keys))


def magnitude(x: Tensor) -> Tensor:
    """sqrt(multiplicity) |rfft2(x)|: (B, C, H, W) real -> (B, C, H, W // 2 + 1), with gradient."""
    return _Magnitude.apply(x)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Masks:
    """The bands of a batch's teachers."""

    bands: dict[str, Tensor]
    """By name, from low to high: factors in [0, 1] that sum to one and broadcast against (B, C, H, W // 2 + 1)."""
    root: Tensor
    """sqrt(multiplicity), (W // 2 + 1,)."""
    area: dict[str, Tensor]
    """Number of coefficients in each band, over the full spectrum. () or (B, C)."""
    order: "Order | None" = None
    """How to gather each band's coefficients, where that is cheaper than a pass over all of them per band."""

    @classmethod
    def of(cls, teacher: Tensor, recipe: Recipe) -> "Masks":
        """Compute the recipe's masks of a teacher (B, C, H, W), float32 or float64."""
        channels, height, width = teacher.shape[1:]
        if recipe.masks == "radial":
            passes = [bands.radial(height, width, at, teacher.device, recipe.edge) for at in recipe.cutoffs]
        else:
            magnitudes = torch.fft.rfft2(teacher).abs()
            passes = bands.quantiles(magnitudes, width, recipe.cutoffs, recipe.edge)
        count = bands.multiplicity(width, teacher)
        lows = [low.to(teacher) for low in passes]
        parts = [lows[0], *(other - one for one, other in pairwise(lows)), 1 - lows[-1]]
        masks = dict(zip(recipe.terms, parts, strict=True))
        area = {band: (mask * count).sum(dim=(-2, -1)) for band, mask in masks.items()}
        many = len(masks) > 2 and recipe.masks == "radial" and recipe.feature == "magnitude"
        return cls(masks, count.sqrt(), area, Order.of(masks, count.sqrt(), area, channels) if many else None)

    def energy(self, band: str, masked: Tensor) -> Tensor:
        """Mean magnitude in a band: the mean over channels of sum(|F| M) / (sum(M) + EPS). (B,).

        Args:
            masked: `magnitude` of a map times the band's mask, (B, C, H, W // 2 + 1).
        """
        weight = self.root.expand(masked.shape[-2:]).reshape(-1)
        return ((masked.flatten(-2) @ weight) / (self.area[band] + EPS)).mean(dim=1)


@dataclass(frozen=True)
class Keys:
    """One band of some images as vectors without gradient.

    They are not normalized: it is cheaper to divide the few similarities.
    """

    value: Tensor
    """(N, D)."""
    inverse: Tensor
    """1 / norm, (N,); 0 for a zero vector, whose cosine with anything is then 0."""


@dataclass(frozen=True)
class Band(Keys):
    """One band of a batch of maps: keys for others, and a query with gradient."""

    energy: Tensor
    """Mean magnitude of the spectrum in this band, detached. (B,)."""
    feature: Tensor
    """(B, C, ...) before masking, with gradient."""
    mask: Tensor | None

    def cosines(self, *keys: Keys) -> Tensor:
        """Cosine of every image to every key, in [-1, 1]; gradient flows into this side only. (B, total N)."""
        products = _Products.apply(self.feature, self.mask, self.value, self.inverse, *(key.value for key in keys))
        return products * torch.cat([key.inverse for key in keys])  # type: ignore[no-any-return]

    def cosine(self, other: "Band") -> Tensor:
        """Cosine image by image, in [-1, 1], with gradient into both sides. (B,)."""
        a, b = (x.feature if x.mask is None else x.feature * x.mask for x in (self, other))
        return torch.nn.functional.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)


@dataclass(frozen=True)
class Order:
    """The coefficients of all channels of an image, arranged by band.

    Many bands then cost little more than two: a coefficient is read once for each band that it is in, not for each.
    """

    index: Tensor
    """Places in the flattened half spectra, (S,): those of the first band, then of the second, and so on."""
    inverse: Tensor | None
    """Where each coefficient went, (C * H * (W // 2 + 1),); None where bands share some."""
    factors: dict[str, Tensor | None]
    """What multiplies each band's coefficients, (size,); None for hard bands, whose factors are one."""
    weights: dict[str, Tensor]
    """Of each band's coefficients in its energy, (size,)."""
    sizes: list[int]

    @classmethod
    def of(cls, masks: dict[str, Tensor], root: Tensor, area: dict[str, Tensor], channels: int) -> "Order":
        """Arrange by masks (H, W // 2 + 1) that all images and channels share."""
        full = {band: mask.expand(channels, *mask.shape).flatten() for band, mask in masks.items()}
        places = [mask.nonzero().squeeze(1) for mask in full.values()]
        index = torch.cat(places)
        hard = len(index) == len(full["low"])
        roots = root.expand(channels, *masks["low"].shape).flatten()
        pairs = list(zip(full, places, strict=True))
        weights = {band: roots[at] / ((area[band] + EPS) * channels) for band, at in pairs}
        factors = {band: None if hard else full[band][at] for band, at in pairs}
        return cls(index, index.argsort() if hard else None, factors, weights, [len(at) for at in places])

    def split(self, scaled: Tensor) -> dict[str, Band]:
        """Split `magnitude` of maps, (B, C, H, W // 2 + 1), with gradient."""
        arranged: Tensor = _Arranged.apply(scaled.flatten(1), self.index, self.inverse)
        found = {}
        for band, feature in zip(self.factors, arranged.split(self.sizes, dim=1), strict=True):
            factor, value = self.factors[band], feature.detach()
            value = value if factor is None else value * factor
            norm = torch.linalg.vector_norm(value, dim=1)
            found[band] = Band(value, torch.where(norm > 0, 1 / norm, 0), value @ self.weights[band], feature, factor)
        return found


class _Arranged(torch.autograd.Function):
    """x[:, index], whose gradient is gathered where every coefficient is in one band."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, inverse: Tensor | None) -> Tensor:
        ctx.save_for_backward(index, inverse)
        ctx.shape = x.shape
        return x.index_select(1, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        index, inverse = ctx.saved_tensors
        if inverse is not None:
            return gradient.index_select(1, inverse), None, None
        return gradient.new_zeros(ctx.shape).index_add_(1, index, gradient), None, None


def split(x: Tensor, masks: Masks, recipe: Recipe) -> dict[str, Band]:
    """Maps (B, C, H, W), float32 or float64, as the recipe compares them, by their teachers' bands."""
    scaled = magnitude(x if recipe.feature == "magnitude" else x.detach())
    if masks.order:
        return masks.order.split(scaled)
    feature = {"magnitude": scaled, "raw": x}.get(recipe.feature)
    if feature is None:
        feature = torch.view_as_real(torch.fft.rfft2(x) * masks.root)
    found = {}
    for band, mask in masks.bands.items():
        masked = scaled.detach() * mask
        energy = masks.energy(band, masked)
        own = {"magnitude": mask, "complex": mask[..., None], "raw": None}[recipe.feature]
        if recipe.feature != "magnitude":
            masked = feature.detach() if own is None else feature.detach() * own
        value = masked.flatten(1)
        norm = torch.linalg.vector_norm(value, dim=1)
        found[band] = Band(value, torch.where(norm > 0, 1 / norm, 0), energy, feature, own)
    return found
