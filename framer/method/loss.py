"""The FRAMER loss: the final layer teaches every layer before it, band by band."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from framer.errors import UserError
from framer.method import distributed
from framer.method.recipe import Recipe, Term
from framer.method.spectrum import EPS, Band, Masks, split


@dataclass(frozen=True)
class BandTerms:
    """One band of all student layers, detached. Each (n, B): n student layers, the B images of this rank."""

    loss: Tensor
    """IntraCL or InterCL before any weight, >= 0."""
    faw: Tensor
    """Weight by band energy, in (0, 1]; 1 where the recipe switches it off."""
    fam: Tensor
    """Weight by similarity, in [0, 1] (with `fam_relu`); 1 where the recipe switches it off."""
    positive: Tensor
    """Cosine to the teacher, in [-1, 1]."""
    negative: Tensor
    """Cosine to the image's own negative layer; NaN where it has none."""
    others: Tensor
    """Mean cosine to the keys of other images; NaN where there are none, as with IntraCL."""


@dataclass(frozen=True)
class LayerTable:
    """One row per student layer: the terms of the loss, detached."""

    layer: list[int]
    """Index into `students`."""
    negative: list[int | None]
    """Index of the negative layer; None without one."""
    loss: Tensor
    """(n, B): the layer's loss with FAW and FAM, before the reduction over layers and before lambda."""
    low: BandTerms | None = None
    high: BandTerms | None = None
    """The lowest and the highest band; None for objectives without bands."""
    middle: tuple[BandTerms, ...] = ()
    """Those between, from low to high."""

    @property
    def bands(self) -> dict[str, BandTerms]:
        """All bands by name, from low to high: low, middle1, middle2, ..., high."""
        between = {f"middle{number}": terms for number, terms in enumerate(self.middle, 1)}
        named = {"low": self.low, **between, "high": self.high}
        return {band: terms for band, terms in named.items() if terms is not None}

    def rows(self) -> list[dict[str, Any]]:
        """Return means over the batch as plain numbers, one flat dict per layer: for a logger or a data frame."""
        columns = {"loss": self.loss.mean(dim=1)}
        for band, terms in self.bands.items():
            columns |= {f"{band}_{f.name}": getattr(terms, f.name).mean(dim=1) for f in fields(terms)}
        values = torch.stack(list(columns.values()), dim=1).tolist()
        return [
            {"layer": layer, "negative": negative, **dict(zip(columns, row, strict=True))}
            for layer, negative, row in zip(self.layer, self.negative, values, strict=True)
        ]


@dataclass(frozen=True)
class FramerOutput:
    """The output of `FramerLoss`."""

    loss: Tensor
    """Scalar with gradient, lambda included: add it to the noise-prediction loss."""
    layers: LayerTable


class _ZeroGradient(torch.autograd.Function):
    """Identity on the loss, with a zero gradient for maps that it does not use.

    DDP waits for the gradient of every parameter, also of an alignment head whose map the recipe excludes.
    """

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *unused: Tensor) -> Tensor:
        ctx.unused = [(x.shape, x.dtype) for x in unused]
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return gradient, *(gradient.new_zeros((), dtype=dtype).expand(shape) for shape, dtype in ctx.unused)


class FramerLoss(nn.Module):
    """Frequency-aligned self-distillation (arXiv 2512.01390, Eq. 9 and the sections before it).

    With cosines s of student layer i in band b at temperature t:

        IntraCL = -log( e^(s+/t) / (e^(s+/t) + e^(s-/t)) )
        InterCL = -log( e^(s+/t) / (e^(s+/t) + e^(s-/t) + sum over other images of e^(s/t)) )
        w_b     = 1 / (1 + |E_teacher - E_i| / E_i)         E: band energy (FAW)
        a_b     = relu(s+)                                  (FAM)
        loss    = lambda * sum over i of mean over images of sum over b of w_b a_b CL_b

    s+ compares with the teacher, s- with a random layer of the same image. Which loss applies to which band, and every
    other choice, is in the recipe. Other images are those of all ranks when `torch.distributed` is initialized; their
    keys carry no gradient, so that averaging gradients over ranks gives the gradient of the whole batch.

    The arithmetic is float32, or float64 for float64 maps, whatever the autocast state.
    """

    def __init__(self, recipe: Recipe):
        """
        Args:
            recipe: a reading of the method, such as `Recipe.named("paper")`.

        Raises:
            UserError: not a Recipe, such as a name, or one that reads no layers.
        """
        super().__init__()
        if not isinstance(recipe, Recipe):
            raise UserError(f"{recipe!r} is not a Recipe; pass Recipe.named(NAME)", key="recipe")
        if recipe.external:
            message = f"{recipe.objective!r} reads no layers; pass the recipe to FrequencyLoss"
            raise UserError(message, key="recipe.objective")
        self.recipe = recipe

    def extra_repr(self) -> str:
        return repr(self.recipe)

    def forward(
        self,
        students: Sequence[Tensor],
        teacher: Tensor,
        negatives: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> FramerOutput:
        """Compare every student with the teacher.

        Args:
            students: L maps (B, C, H, W), one per layer in the order of the network, its last layer included.
                A map that the recipe excludes gets a gradient of zeros.
            teacher: the final output (B, C, H, W), in the same space as the students, or with `Recipe.teacher` "truth"
                what it should be. No gradient flows into it.
            negatives: L layer indices in [0, L), the negative of each student, used as given on each rank. Entries of
                layers that are not students are not read. By default they are drawn according to `Recipe.negatives`.
            generator: for the draw; by default torch's CPU generator. All ranks use rank 0's draw.

        With `torch.distributed` initialized this is a collective call: all ranks make it, with equally many images.

        Raises:
            UserError: shapes differ, an index is out of range, or the recipe is undefined for so few layers or images.
        """
        if isinstance(students, Tensor):
            raise UserError("pass a list of maps (B, C, H, W), not one tensor", key="students")
        if not students or teacher.ndim != 4 or any(student.shape != teacher.shape for student in students):
            shapes = sorted({tuple(x.shape) for x in (teacher, *students)})
            raise UserError(
                f"students and teacher must be maps of one shape (B, C, H, W), not {shapes}",
                key="students",
                code="mismatch",
            )
        source = self._source(len(students))
        layers = [i for i in range(len(students)) if self.recipe.students == "all" or i != source]
        if not layers:
            raise UserError("the only student is the teacher's own layer; pass more layers", key="students")
        if self.recipe.objective == "none":
            nothing = torch.zeros(len(layers), len(teacher), device=teacher.device)
            return FramerOutput(
                _ZeroGradient.apply(nothing.sum(), *students), LayerTable(layers, [None] * len(layers), nothing)
            )

        chosen = self._negatives(layers, len(students), negatives, generator, teacher.device)
        target = teacher if self.recipe.teacher in ("final", "truth") else students[source]
        dtype = torch.promote_types(teacher.dtype, torch.float32)
        with torch.autocast(teacher.device.type, enabled=False):
            maps = {i: students[i].to(dtype) for i in sorted({*layers, *(j for j in chosen if j is not None)})}
            target = target.detach().to(dtype)
            if self.recipe.objective == "l2":
                losses = torch.stack([(maps[i] - target).square().mean(dim=(1, 2, 3)) for i in layers])
                output = FramerOutput(self._reduce(losses), LayerTable(layers, chosen, losses.detach()))
            else:
                output = self._contrast(maps, target, layers, chosen)
        unused = [x for i, x in enumerate(students) if i not in layers]
        return replace(output, loss=_ZeroGradient.apply(output.loss, *unused)) if unused else output

    def _source(self, total: int) -> int:
        """Index of the teacher's layer; with the truth as the teacher, of the layer whose place it takes."""
        teacher = self.recipe.teacher
        named = {"final": total - 1, "truth": total - 1, "middle": total // 2}
        source = named[teacher] if isinstance(teacher, str) else teacher
        if not 0 <= source < total:
            raise UserError(f"there is no layer {source} among {total} students", key="recipe.teacher")
        return source

    def _reduce(self, losses: Tensor) -> Tensor:
        """(n, B) -> scalar."""
        per_layer = losses.mean(dim=1)
        return self.recipe.weight * (per_layer.sum() if self.recipe.reduction == "sum" else per_layer.mean())

    def _negatives(
        self,
        layers: list[int],
        total: int,
        given: Sequence[int] | None,
        generator: torch.Generator | None,
        device: torch.device,
    ) -> list[int | None]:
        """The negative layer of each student layer."""
        kind = self.recipe.negatives
        if self.recipe.objective != "contrastive" or kind == "none":
            return [None] * len(layers)
        if given is not None:
            if len(given) != total or not all(0 <= j < total for j in given):
                raise UserError(f"pass {total} layer indices from 0 to {total - 1}", key="negatives")
            if any(given[i] == i for i in layers):
                raise UserError("a layer cannot be its own negative", key="negatives")
            return [int(given[i]) for i in layers]
        pools = [[j for j in layers if (j < i if kind == "earlier" else j != i)] for i in layers]
        if not any(pools):
            raise UserError("a single student has no other layer as its negative; pass more layers", key="students")
        source = generator.device if generator else "cpu"
        draws = torch.rand(len(layers), generator=generator, dtype=torch.float64, device=source).tolist()
        drawn = [pool[int(u * len(pool))] if pool else None for pool, u in zip(pools, draws, strict=True)]
        return distributed.from_first_rank(drawn, device)

    def _contrast(
        self, maps: dict[int, Tensor], teacher: Tensor, layers: list[int], chosen: list[int | None]
    ) -> FramerOutput:
        recipe = self.recipe
        kinds = recipe.terms
        alone = len(teacher) * distributed.ranks()[1] == 1
        if alone and recipe.negatives == "none" and "inter" in kinds.values():
            raise UserError(
                "one image and no negative layer leave nothing to contrast with; use more images", key="students"
            )
        masks = Masks.of(teacher, recipe)
        final = split(teacher, masks, recipe)
        views = {i: split(x, masks, recipe) for i, x in maps.items()}
        losses = teacher.new_zeros(len(layers), len(teacher))
        tables = {}
        for band, kind in kinds.items():
            target = final[band]
            queries = [views[i][band] for i in layers]
            negatives = [None if j is None else views[j][band] for j in chosen]
            terms = self._terms(kind, queries, target, negatives)
            energy = torch.stack([query.energy for query in queries])
            terms |= adaptive_weights(recipe, energy, target.energy, terms["positive"])
            losses = losses + terms["faw"] * terms["fam"] * terms["loss"]
            tables[band] = BandTerms(**{key: value.detach() for key, value in terms.items()})
        low, *middle, high = tables.values()
        table = LayerTable(layers, chosen, losses.detach(), low, high, tuple(middle))
        return FramerOutput(self._reduce(losses), table)

    def _terms(
        self, kind: Term, queries: list[Band], teacher: Band, negatives: Sequence[Band | None]
    ) -> dict[str, Tensor]:
        """Similarities and contrastive loss of all student layers in one band, (n, B) each."""
        recipe = self.recipe
        inter = kind == "inter"
        hard = inter and recipe.keys == "teachers+negatives"
        teachers = distributed.gather(teacher) if inter else teacher
        size, total = len(teacher.value), len(teachers.value)

        blocks = []
        for query, negative in zip(queries, negatives, strict=True):
            if negative is None:
                similar = query.cosines(teachers)
                blocks.append(F.pad(similar, (0, total if hard else size), value=-math.inf))
            else:
                blocks.append(query.cosines(teachers, distributed.gather(negative) if hard else negative))
        to_teachers, to_negatives = torch.stack(blocks).tensor_split([total], dim=2)

        # Index of an image among its own rank's keys, and among those of all ranks.
        local = torch.arange(size, device=teacher.value.device)
        shared = local + distributed.ranks()[0] * size
        positive = to_teachers[:, local, shared if inter else local]
        hardest = to_negatives[:, local, shared if hard else local]
        if not recipe.stop_negatives:
            pairs = zip(queries, negatives, hardest, strict=True)
            hardest = torch.stack([own if other is None else query.cosine(other) for query, other, own in pairs])

        # Only InterCL contrasts with other images, and with their negative layers only with hard keys.
        itself = torch.arange(total, device=local.device) == shared[:, None]
        others = [x.masked_fill(itself, -math.inf) for x in [to_teachers, to_negatives][: int(inter) + int(hard)]]
        logits = torch.cat([positive[..., None], hardest[..., None], *others], dim=2)
        rest = logits[..., 2:].detach()
        valid = rest.isfinite()
        return {
            "loss": (logits / recipe.temperature).logsumexp(dim=2) - positive / recipe.temperature,
            "positive": positive,
            "negative": hardest.masked_fill(hardest.isinf(), math.nan),
            # 0 / 0 where there are no others: NaN.
            "others": rest.where(valid, 0).sum(dim=2) / valid.sum(dim=2),
        }


def adaptive_weights(recipe: Recipe, student: Tensor, teacher: Tensor, similarity: Tensor) -> dict[str, Tensor]:
    """`faw` from the band energies of student and teacher, `fam` from their cosine; (B,) or (n, B) each."""
    faw = fam = torch.ones_like(similarity)
    if recipe.faw:
        difference = (teacher - student).abs()
        if recipe.discrepancy != "absolute":
            difference = difference / ((student if recipe.discrepancy == "student" else teacher) + EPS)
        faw = 1 / (1 + difference)
    if recipe.fam:
        fam = similarity.relu() if recipe.fam_relu else similarity
        fam = fam.detach() if recipe.fam_stop else fam
    return {"faw": faw, "fam": fam}
