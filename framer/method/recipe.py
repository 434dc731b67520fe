"""Every choice of the method as one frozen dataclass, and the named sets of choices.

The paper (arXiv 2512.01390) and the released code (CMLab-Korea/CVPR26-FRAMER, commit 0caf21d) differ, and the paper is
silent on some points. Fields name who does what. The defaults are the recipe `paper`; every ablation is that recipe
with the fields named in `ABLATIONS` changed, and nothing else.
"""

from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

from framer.errors import UserError, unknown
from framer.method.recipes import ABLATIONS, RELEASED

Objective = Literal["none", "l2", "contrastive", "focal_frequency", "spectrum_l1"]
Masks = Literal["radial", "quantile"]
Feature = Literal["magnitude", "complex", "raw"]
Space = Literal["x0", "output", "image"]
Term = Literal["intra", "inter"]
Negatives = Literal["other", "earlier", "none"]
Keys = Literal["teachers", "teachers+negatives"]
Discrepancy = Literal["student", "teacher", "absolute"]
Reduction = Literal["sum", "mean"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One reading of FRAMER. Immutable and hashable; `dataclasses.replace` makes a variant.

    Raises:
        UserError: a field has a value that it cannot take; the key is `recipe.FIELD`.
    """

    objective: Objective = "contrastive"
    """What is distilled. `contrastive`: IntraCL and InterCL per band (paper and released code). `l2`: the mean squared
    difference to the teacher, without bands or weights. `none`: nothing, the noise-prediction loss alone. The last two
    are rows of the paper's Table 2. `focal_frequency` and `spectrum_l1` are rivals in FRAMER's place, which read no
    layers: the spectrum of the final estimate against that of the truth (`frequency.FrequencyLoss`)."""

    teacher: int | Literal["final", "middle", "truth"] = "final"
    """Who teaches. `final`: the final output (both). An index k, or `middle` (k = L // 2): the fixed layer
    `students[k]` instead, a row of Table 3. Which layer the paper fixed there is not known. `truth`: the clean latent
    of the HR image, in `space`, for the students of `final`. It is a control, in neither: with `l2` it is deep
    supervision, with `contrastive` FRAMER without self-distillation. Whoever makes the maps gives it to the loss as
    the teacher (`prediction.truth`)."""

    students: Literal["others", "all"] = "others"
    """Whether the layer that the teacher is made of is a student too. Paper: layers 0..n-1, so no (`others`). Released
    code: all blocks, so its last student equals its teacher (`all`)."""

    space: Space = "x0"
    """In which space maps are compared: an estimate of the clean latent (`x0`) or the model's output as it stands
    (`output`). Released code: `x0`. The paper speaks of feature maps and names no conversion; `paper` follows the code.
    Read by whoever makes the maps (`prediction.compared`), not by the loss. `image`: decoded images, for objectives
    that read no layers alone."""

    masks: Masks = "radial"
    """How coefficients are split in two bands. Paper: rings around zero frequency (`radial`; caption of Fig. 2).
    Released code: by the teacher's magnitude, the weakest `cutoff` of all coefficients of an image being "low"
    (`quantile`)."""

    cutoff: float | tuple[float, ...] = 0.2
    """Where the bands meet, in (0, 1). `radial`: as a fraction of the Nyquist frequency. `quantile`: as a fraction of
    the coefficients. Released code: 0.2. Not given in the paper; `paper` takes the code's number. Increasing numbers
    make one band more than there are numbers; both sources have two."""

    feature: Feature = "magnitude"
    """What is compared within a band: the magnitudes of the masked spectrum (released code), its real and imaginary
    parts (`complex`; equals comparing band-passed maps, by Parseval), or the unfiltered map in both bands (`raw`, a
    control). The paper writes of masked FFTs; `paper` follows the code."""

    low: Term = "intra"
    """The loss on the low band: `intra` (both). `inter` is a row of Table 4."""

    high: Term = "inter"
    """The loss on the high band: `inter` (both). `intra` is a row of Table 4."""

    negatives: Negatives = "other"
    """From which students the random negative layer j of student i is drawn: any j != i (released code; the paper's
    "random layer" is read so), only j < i (`earlier`; the first student then has none), or no layer (`none`, a row of
    Table 3: IntraCL is then zero)."""

    stop_negatives: bool = True
    """Whether an image's own negative carries no gradient. Released code: none. The paper does not say."""

    keys: Keys = "teachers"
    """Which features of other images InterCL pushes away: their teachers (the paper's S_neg) or also their negative
    layers (`teachers+negatives`, released code)."""

    temperature: float = 1.0
    """Divides every similarity, > 0. Released code: 1. No temperature in the paper's formulas, which is 1."""

    faw: bool = True
    """Frequency-adaptive weight: 1 / (1 + discrepancy of band energy between student and teacher). On in both; off in
    Table 5."""

    discrepancy: Discrepancy = "student"
    """The FAW discrepancy |E_teacher - E_student|, divided by the energy of the student (released code) or of the
    teacher, or `absolute`. Paper and README call it relative without naming the denominator; a note on the paper
    writes it absolute. `paper` follows the code."""

    fam: bool = True
    """Frequency-alignment modulation: the weight is multiplied by the similarity of student and teacher. On in both;
    off in Table 5."""

    fam_relu: bool = True
    """Whether a negative similarity gives weight zero. On in both; of no effect on magnitudes, which are never
    negative."""

    fam_stop: bool = True
    """Whether the FAM weight carries no gradient. None in both."""

    reduction: Reduction = "sum"
    """How the layers' losses are put together. Paper: `sum`. Released code: `mean`."""

    weight: float = 1.0
    """Lambda, the factor of the whole loss beside the noise loss, >= 0. Paper: none is shown, so 1. Released code:
    0.1."""

    middle: tuple[Term, ...] = ()
    """The losses on the bands between low and high, from low to high: one fewer than cutoffs. None in both."""

    edge: float = 0.0
    """Width over which two bands pass into each other, as a raised cosine around the cutoff and in its unit. Both: 0,
    every coefficient in one band."""

    alpha: float = 1.0
    """Of `focal_frequency` alone: the exponent of its weight, >= 0. Its authors': 1."""

    def __post_init__(self) -> None:
        if isinstance(self.cutoff, tuple) and len(self.cutoff) == 1:
            object.__setattr__(self, "cutoff", self.cutoff[0])

        def refused(name: str, allowed: str) -> UserError:
            return UserError(f"{getattr(self, name)!r} is not {allowed}", key=f"recipe.{name}")

        for field in fields(self):
            value, kind = getattr(self, field.name), field.type
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise refused(field.name, f"one of {', '.join(get_args(kind))}")
            if kind is bool and not isinstance(value, bool):
                raise refused(field.name, "true or false")
            if kind is float and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise refused(field.name, "a number")
        named = self.teacher in ("final", "middle", "truth")
        if isinstance(self.teacher, bool) or not (isinstance(self.teacher, int) or named):
            raise refused("teacher", "'final', 'middle', 'truth' or a layer index")
        ends = (0.0, *self.cutoffs, 1.0)
        if any(isinstance(x, bool) or not isinstance(x, (int, float)) for x in ends):
            raise refused("cutoff", "a number or several")
        if len(ends) == 2 or not all(one < other for one, other in pairwise(ends)):
            raise refused("cutoff", "between 0 and 1" if len(ends) == 3 else "increasing numbers between 0 and 1")
        if not isinstance(self.middle, tuple) or any(term not in get_args(Term) for term in self.middle):
            raise refused("middle", f"a list of {' and '.join(get_args(Term))}")
        if len(self.middle) != len(self.cutoffs) - 1:
            message = f"name a loss of each band between low and high, one fewer than the {len(self.cutoffs)} of cutoff"
            raise UserError(message, key="recipe.middle", code="mismatch")
        if not 0 <= self.edge <= 2 * min(ends[1], 1 - ends[-2]):
            raise refused(
                "edge", f"from 0 to {2 * min(ends[1], 1 - ends[-2]):g}, where bands would reach beyond 0 or 1"
            )
        if not 0 < self.temperature < float("inf"):
            raise refused("temperature", "a positive number")
        if not 0 <= self.weight < float("inf"):
            raise refused("weight", "a number from 0 on")
        if not 0 <= self.alpha < float("inf"):
            raise refused("alpha", "a number from 0 on")
        if self.space == ("output" if self.external else "image"):
            allowed = "'x0' or 'image'" if self.external else "'x0' or 'output'"
            raise UserError(f"objective {self.objective!r} compares in {allowed}", key="recipe.space", code="conflict")
        if self.objective == "contrastive" and self.negatives == "none" and {*self.terms.values()} == {"intra"}:
            message = "with 'none' and IntraCL on all bands the loss is always zero; choose other negatives or 'inter'"
            raise UserError(message, key="recipe.negatives", code="conflict")

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Where bands meet, from low to high."""
        return self.cutoff if isinstance(self.cutoff, tuple) else (self.cutoff,)

    @property
    def terms(self) -> dict[str, Term]:
        """The loss of every band by its name, from low to high: low, middle1, middle2, ..., high."""
        between = {f"middle{number}": term for number, term in enumerate(self.middle, 1)}
        return {"low": self.low, **between, "high": self.high}

    @property
    def external(self) -> bool:
        """Whether the loss compares the final estimate with the truth, and reads no layers."""
        return self.objective in ("focal_frequency", "spectrum_l1")

    @property
    def truth(self) -> Literal["latent", "image"] | None:
        """The ground truth that the loss compares with, which the backbone has to provide."""
        if self.external:
            return "image" if self.space == "image" else "latent"
        return "latent" if self.teacher == "truth" else None

    @property
    def term(self) -> Literal["framer", "frequency"]:
        """What the loss is called in the log of a training."""
        return "frequency" if self.external else "framer"

    def as_dict(self) -> dict[str, Any]:
        """All choices as plain values, as a card and a job have them.

        Fields that came after the first are left out at their defaults: the job of an older recipe stays the same job.
        """
        values = asdict(self)
        return {name: value for name, value in values.items() if name not in LATER or value != LATER[name]}

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The named recipes: `paper`, `released`, then the ablations of `paper`."""
        return ("paper", "released", *ABLATIONS)

    @classmethod
    def named(cls, name: str) -> "Recipe":
        """The recipe of that name.

        Raises:
            UserError: there is none; the message lists them.
        """
        if name == "paper":
            return cls()
        if name == "released":
            return cls(**RELEASED)
        if name in ABLATIONS:
            return replace(cls(), **ABLATIONS[name])
        raise UserError(unknown("recipe", name, cls.names()), code="unknown")


LATER = {field.name: field.default for field in fields(Recipe) if field.name in ("middle", "edge", "alpha")}
"""Fields that cards of before do not have, with their defaults."""
