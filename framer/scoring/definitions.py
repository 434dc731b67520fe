"""What may vary within a metric's definition, and the exact id, weights and options that follow from each choice.

A protocol file holds `psnr: {color: y-bt601-limited, border: 4}`; the id `psnr@y-bt601-limited,c4` is derived here, so
that no file can put one definition under another's id.
"""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from framer.config_file import Strict

_REPRODUCIBILITY = {
    "psnr": 1e-5,
    "ssim": 1e-6,
    "lpips": 1e-5,
    "dists": 1e-5,
    "niqe": 1e-4,
    "maniqa": 1e-5,
    "musiq": 1e-3,
    "clipiqa": 1e-5,
    "liqe": 1e-4,
    "fid": 1e-3,
}
"""By metric, how far two computations of one score may differ: float32 on other hardware, or another implementation."""


@dataclass(frozen=True)
class Metric:
    """One exact definition.

    `pyiqa` and `options` are the arguments of `pyiqa.create_metric(pyiqa, **options)`, whichever code computes it.
    """

    name: str
    """Short name, the key in score files."""
    id: str
    """Exact definition: color, border and checkpoint, whatever changes the number."""
    title: str
    """Name as a table's heading prints it."""
    higher_is_better: bool
    needs_hr: bool
    """Full-reference: compares with HR."""
    pyiqa: str
    digits: int
    """Decimals in tables, as the papers of the field print them."""
    min_side: int
    """Smallest image side, pixels, for which it is defined."""
    options: MappingProxyType[str, bool | int | str] = field(default_factory=lambda: MappingProxyType({}))
    weights: tuple[str, ...] = ()
    """The manifests of the weights that it needs."""
    of_set: bool = False
    """One value for a whole set of images, where all others have one per image."""

    @property
    def reproducibility(self) -> float:
        """Smaller differences between two scores count as zero, in the metric's unit."""
        return _REPRODUCIBILITY[self.name]

    @property
    def heading(self) -> str:
        """Title with an arrow in the direction of better."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"


Color = Literal["rgb", "y-bt601-limited", "y-yiq-full"]
_OPTIONS: dict[Color, dict[str, bool | str]] = {
    "rgb": {"test_y_channel": False},
    "y-bt601-limited": {"test_y_channel": True, "color_space": "ycbcr"},
    "y-yiq-full": {"test_y_channel": True, "color_space": "yiq"},
}


class Fidelity(Strict):
    """Pixels against pixels."""

    color: Color
    border: int = Field(ge=0, description="pixels left out at each edge")

    @property
    def options(self) -> MappingProxyType[str, bool | int | str]:
        """As pyiqa names them."""
        return MappingProxyType({**_OPTIONS[self.color], "crop_border": self.border})


class Psnr(Fidelity):
    """PSNR."""

    @property
    def metric(self) -> Metric:
        name = f"psnr@{self.color},c{self.border}"
        return Metric("psnr", name, "PSNR", True, True, "psnr", 2, 1 + 2 * self.border, self.options)


class Ssim(Fidelity):
    """SSIM."""

    @property
    def metric(self) -> Metric:
        # The 11 x 11 window must fit.
        name = f"ssim@{self.color},c{self.border}"
        return Metric("ssim", name, "SSIM", True, True, "ssim", 4, 11 + 2 * self.border, self.options)


class Lpips(Strict):
    """LPIPS, version 0.1."""

    net: Literal["alex", "vgg"]

    @property
    def metric(self) -> Metric:
        # Below these sides the backbone's last pooling has nothing left.
        pyiqa, min_side = {"alex": ("lpips", 31), "vgg": ("lpips-vgg", 16)}[self.net]
        weights = (f"lpips-{self.net}",)
        return Metric("lpips", f"lpips@{self.net}-v0.1", "LPIPS", False, True, pyiqa, 4, min_side, weights=weights)


class Dists(Strict):
    """DISTS."""

    @property
    def metric(self) -> Metric:
        return Metric("dists", "dists@vgg16", "DISTS", False, True, "dists", 4, 1, weights=("dists",))


class Niqe(Strict):
    """NIQE with its authors' parameters, or with those that MATLAB's `niqe` ships."""

    color: Literal["y-bt601-limited", "y-yiq-full"]
    border: int = Field(ge=0, description="pixels left out at each edge")
    parameters: Literal["live", "matlab"] = Field("live", description="the authors' at LIVE, or MATLAB's")

    @property
    def metric(self) -> Metric:
        name = f"niqe@{self.parameters},{self.color},c{self.border}"
        pyiqa, weights = {"live": ("niqe", "niqe"), "matlab": ("niqe_matlab", "niqe-matlab")}[self.parameters]
        options = MappingProxyType({**_OPTIONS[self.color], "crop_border": self.border})
        # Its features are of whole blocks of 96 x 96; an image this small has just one.
        side = 96 + 2 * self.border
        return Metric("niqe", name, "NIQE", False, False, pyiqa, 4, side, options, (weights,))


class Maniqa(Strict):
    """MANIQA. Since pyiqa 0.1.12 its 20 crops lie on a fixed grid; before, they were random and order-dependent."""

    checkpoint: Literal["pipal", "koniq", "kadid"]

    @property
    def metric(self) -> Metric:
        pyiqa = "maniqa" if self.checkpoint == "koniq" else f"maniqa-{self.checkpoint}"
        name = f"maniqa@{self.checkpoint},grid20"
        return Metric("maniqa", name, "MANIQA", True, False, pyiqa, 4, 1, weights=(f"maniqa-{self.checkpoint}",))


class Musiq(Strict):
    """MUSIQ."""

    checkpoint: Literal["koniq", "spaq", "paq2piq", "ava"]

    @property
    def metric(self) -> Metric:
        pyiqa = "musiq" if self.checkpoint == "koniq" else f"musiq-{self.checkpoint}"
        weights = (f"musiq-{self.checkpoint}",)
        return Metric("musiq", f"musiq@{self.checkpoint}", "MUSIQ", True, False, pyiqa, 2, 1, weights=weights)


class Clipiqa(Strict):
    """CLIP-IQA with pyiqa's five pairs of prompts."""

    @property
    def metric(self) -> Metric:
        return Metric("clipiqa", "clipiqa@rn50", "CLIPIQA", True, False, "clipiqa", 4, 32, weights=("clipiqa",))


class Liqe(Strict):
    """LIQE."""

    checkpoint: Literal["koniq", "mix"]

    @property
    def metric(self) -> Metric:
        pyiqa = "liqe" if self.checkpoint == "koniq" else "liqe_mix"
        weights = (f"liqe-{self.checkpoint}",)
        # It looks at windows of 224 x 224.
        return Metric("liqe", f"liqe@{self.checkpoint}", "LIQE", True, False, pyiqa, 4, 224, weights=weights)


class Fid(Strict):
    """FID between the restored and the HR images of a set, resized as clean-fid does."""

    @property
    def metric(self) -> Metric:
        return Metric("fid", "fid@inception,clean", "FID", False, True, "fid", 2, 1, weights=("fid",), of_set=True)


class Definitions(Strict):
    """The metrics of a protocol, each optional, in the order of the tables."""

    psnr: Psnr | None = None
    ssim: Ssim | None = None
    lpips: Lpips | None = None
    niqe: Niqe | None = None
    maniqa: Maniqa | None = None
    musiq: Musiq | None = None
    dists: Dists | None = None
    clipiqa: Clipiqa | None = None
    liqe: Liqe | None = None
    fid: Fid | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those that are given."""
        return tuple(one.metric for _, one in self if one is not None)


class ProtocolFile(Strict):
    """The content of a protocol file."""

    summary: str = Field(description="what a reader of a table must know, in words")
    metrics: Definitions
