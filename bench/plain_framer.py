"""The reference of `bench_method.py`: the recipe `released`, layer by layer, in the plainest autograd that does it.

One full `fft2` per map, shifted; masks over the full spectrum; each band's features masked and normalized separately.
Independent of the package, and not optimized.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_released(students: Sequence[Tensor], teacher: Tensor, negatives: Sequence[int]) -> Tensor:
    """The loss of `Recipe.named("released")` for L students (B, C, H, W), lambda included. Scalar."""
    target = magnitude(teacher.detach())
    threshold = torch.stack([row.quantile(0.2) for row in target.flatten(1)])
    high = (target >= threshold[:, None, None, None]).to(target.dtype)
    low = 1 - high
    maps = [magnitude(student) for student in students]
    own = torch.arange(len(teacher), device=teacher.device)
    total = teacher.new_zeros(())
    for student, negative in zip(maps, negatives, strict=True):
        other = maps[negative].detach()
        q, k, n = unit(student * low), unit(target * low), unit(other * low)
        positive = (q * k).sum(1)
        pair = torch.stack([positive, (q * n).sum(1)], dim=1)
        intra = F.cross_entropy(pair, torch.zeros_like(own), reduction="none")
        loss = positive.detach().relu() * weight(student, target, low) * intra

        q, k, n = unit(student * high), unit(target * high), unit(other * high)
        inter = F.cross_entropy(q @ torch.cat([k, n]).T, own, reduction="none")
        loss = loss + (q * k).sum(1).detach().relu() * weight(student, target, high) * inter
        total = total + loss.mean()
    return 0.1 * total / len(maps)


def magnitude(x: Tensor) -> Tensor:
    """Centered magnitude spectrum, as large as the map."""
    return torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)).abs()


def unit(x: Tensor) -> Tensor:
    """One vector of length 1 per image. (B, C * H * W)."""
    return F.normalize(x.flatten(1), dim=1)


def weight(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """The frequency-adaptive weight in one band, detached. (B,)."""
    area = mask.sum(dim=(2, 3)) + 1e-9
    own = ((student.detach() * mask).sum(dim=(2, 3)) / area).mean(dim=1)
    final = ((teacher * mask).sum(dim=(2, 3)) / area).mean(dim=1)
    return 1 / (1 + (final - own).abs() / (own + 1e-9))
