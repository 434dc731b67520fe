"""Settings of the second-order degradation: plain values, no torch, since manifests are checked against them.

The pipeline is Real-ESRGAN's (Wang et al., 2021): blur, resize, noise, JPEG, twice; then a resize to the LR size with a
sinc filter, and a JPEG, in either order. Papers differ in the ranges; `docs/data.md` lists the source of each value.
"""

from dataclasses import dataclass
from typing import Literal

from framer.errors import UserError, unknown

Range = tuple[float, float]
Kind = Literal["iso", "aniso", "generalised_iso", "generalised_aniso", "plateau_iso", "plateau_aniso"]

SCALE = 4
KINDS: tuple[Kind, ...] = ("iso", "aniso", "generalised_iso", "generalised_aniso", "plateau_iso", "plateau_aniso")
KERNEL_SIZES = tuple(range(7, 22, 2))


@dataclass(frozen=True)
class Blur:
    """A random blur kernel of odd size, 7 to 21.

    Attributes:
        probability: of blurring at all.
        sigma: range of both standard deviations, pixels.
        sinc: probability of a sinc kernel in place of a Gaussian one.
        kinds: probabilities of `KINDS`, among the Gaussian ones.
        generalised_beta: range of the generalised Gaussian's exponent.
        plateau_beta: range of the plateau's exponent.
    """

    probability: float
    sigma: Range
    sinc: float = 0.1
    kinds: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    generalised_beta: Range = (0.5, 4.0)
    plateau_beta: Range = (1.0, 2.0)


@dataclass(frozen=True)
class Stage:
    """One round of blur, resize, noise and JPEG.

    Attributes:
        directions: probabilities of enlarging, shrinking and keeping the size.
        resize: smallest and largest factor.
        sigma: range of the Gaussian noise's standard deviation, in 1/255.
        poisson: range of the factor on the Poisson noise.
        jpeg: lowest and highest JPEG quality, both included.
        gaussian: probability of Gaussian noise; Poisson noise otherwise.
        gray: probability that the three channels share one noise.
    """

    blur: Blur
    directions: tuple[float, float, float]
    resize: Range
    sigma: Range
    poisson: Range
    jpeg: tuple[int, int]
    gaussian: float = 0.5
    gray: float = 0.4


@dataclass(frozen=True)
class Degradation:
    """A whole second-order degradation, x4.

    Attributes:
        sinc: probability of the last sinc filter.
        sharpen: HR is sharpened (unsharp mask); LR is made from the sharpened HR, which is the target too.
    """

    first: Stage
    second: Stage
    sinc: float = 0.8
    sharpen: bool = False

    @classmethod
    def named(cls, name: str) -> "Degradation":
        """One of `PRESETS`.

        Raises:
            UserError: there is no such preset.
        """
        try:
            return PRESETS[name]
        except KeyError:
            raise UserError(unknown("degradation preset", name, PRESETS), code="unknown") from None


_UP_DOWN_KEEP = (0.2, 0.7, 0.1)
_UP_DOWN_KEEP_2 = (0.3, 0.4, 0.3)

_HARSH = (
    Stage(Blur(1.0, (0.2, 3.0)), _UP_DOWN_KEEP, (0.15, 1.5), sigma=(1, 30), poisson=(0.05, 3.0), jpeg=(30, 95)),
    Stage(Blur(0.8, (0.2, 1.5)), _UP_DOWN_KEEP_2, (0.3, 1.2), sigma=(1, 25), poisson=(0.05, 2.5), jpeg=(30, 95)),
)
_MILD = (
    Stage(Blur(1.0, (0.2, 3.0)), _UP_DOWN_KEEP, (0.3, 1.5), sigma=(1, 15), poisson=(0.05, 2.0), jpeg=(60, 95)),
    Stage(Blur(0.5, (0.2, 1.5)), _UP_DOWN_KEEP_2, (0.6, 1.2), sigma=(1, 12), poisson=(0.05, 1.0), jpeg=(60, 100)),
)

# Not published by anyone: noise as strong as a phone's at night, late in the pipeline, where nothing averages it out.
# What a network of 10^6 weights learns in a minute, bicubic interpolation cannot do: the small studies need that.
_LOW_LIGHT = (
    Stage(Blur(1.0, (0.2, 1.5)), _UP_DOWN_KEEP, (0.5, 1.2), sigma=(1, 10), poisson=(0.05, 1.0), jpeg=(60, 95)),
    Stage(
        Blur(0.5, (0.2, 0.8)),
        (0.1, 0.1, 0.8),
        (0.8, 1.2),
        sigma=(15, 50),
        poisson=(1.0, 4.0),
        jpeg=(60, 95),
        gaussian=0.7,
    ),
)

PRESETS: dict[str, Degradation] = {
    "realesrgan": Degradation(*_HARSH),
    "seesr": Degradation(*_HARSH, sharpen=True),
    "pisa_sr": Degradation(*_MILD),
    "lowlight": Degradation(*_LOW_LIGHT),
}
