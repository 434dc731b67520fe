"""What may vary within a metric's definition, and the exact id, files and options that follow from each choice.

A protocol file says `psnr: {color: y-bt601-limited, border: 4}`; the id `psnr@y-bt601-limited,c4` is made of that here,
so that no file can put one definition under another's id.
"""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from framer.config_file import Strict


@dataclass(frozen=True)
class Metric:
    """One exact definition.

    `pyiqa` and `options` say it in the words of `pyiqa.create_metric(pyiqa, **options)`, whichever code computes it.
    """

    name: str
    """Short name, the key in score files."""
    id: str
    """Exact definition: colour, border and checkpoint, whatever changes the number."""
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
    """Files that it needs, relative to the folder of weights."""
    of_set: bool = False
    """One value for a whole set of images, where all others have one an image."""

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
_ALEXNET = "hub/checkpoints/alexnet-owt-7be5be79.pth"
_VGG = "hub/checkpoints/vgg16-397923af.pth"


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
        pyiqa, min_side, files = {
            "alex": ("lpips", 31, (_ALEXNET, "hub/pyiqa/LPIPS_v0.1_alex-df73285e.pth")),
            "vgg": ("lpips-vgg", 16, (_VGG, "hub/pyiqa/LPIPS_v0.1_vgg-a78928a0.pth")),
        }[self.net]
        return Metric("lpips", f"lpips@{self.net}-v0.1", "LPIPS", False, True, pyiqa, 4, min_side, weights=files)


class Dists(Strict):
    """DISTS."""

    @property
    def metric(self) -> Metric:
        files = (_VGG, "hub/pyiqa/DISTS_weights-f5e65c96.pth")
        return Metric("dists", "dists@vgg16", "DISTS", False, True, "dists", 4, 1, weights=files)


class Niqe(Strict):
    """NIQE with its authors' parameters."""

    color: Literal["y-bt601-limited", "y-yiq-full"]
    border: int = Field(ge=0, description="pixels left out at each edge")

    @property
    def metric(self) -> Metric:
        name = f"niqe@live,{self.color},c{self.border}"
        options = MappingProxyType({**_OPTIONS[self.color], "crop_border": self.border})
        # Its features are of whole blocks of 96 x 96; an image this small has just one.
        side = 96 + 2 * self.border
        return Metric(
            "niqe", name, "NIQE", False, False, "niqe", 4, side, options, ("hub/pyiqa/niqe_modelparameters.mat",)
        )


class Maniqa(Strict):
    """MANIQA. Since pyiqa 0.1.12 its 20 crops lie on a fixed grid; before, they were random and hung on call order."""

    checkpoint: Literal["pipal", "koniq", "kadid"]

    @property
    def metric(self) -> Metric:
        pyiqa, file = {
            "pipal": ("maniqa-pipal", "MANIQA_PIPAL-ae6d356b.pth"),
            "koniq": ("maniqa", "ckpt_koniq10k.pt"),
            "kadid": ("maniqa-kadid", "ckpt_kadid10k.pt"),
        }[self.checkpoint]
        name = f"maniqa@{self.checkpoint},grid20"
        return Metric("maniqa", name, "MANIQA", True, False, pyiqa, 4, 1, weights=(f"hub/pyiqa/{file}",))


class Musiq(Strict):
    """MUSIQ."""

    checkpoint: Literal["koniq", "spaq", "paq2piq", "ava"]

    @property
    def metric(self) -> Metric:
        digits = {"koniq": "e95806b9", "spaq": "358bb6af", "paq2piq": "364c0c84", "ava": "e8d3f067"}[self.checkpoint]
        pyiqa = "musiq" if self.checkpoint == "koniq" else f"musiq-{self.checkpoint}"
        file = f"hub/pyiqa/musiq_{self.checkpoint}_ckpt-{digits}.pth"
        return Metric("musiq", f"musiq@{self.checkpoint}", "MUSIQ", True, False, pyiqa, 2, 1, weights=(file,))


class Clipiqa(Strict):
    """CLIP-IQA with pyiqa's five pairs of prompts."""

    @property
    def metric(self) -> Metric:
        return Metric(
            "clipiqa", "clipiqa@rn50", "CLIPIQA", True, False, "clipiqa", 4, 32, weights=("hub/clip/RN50.pt",)
        )


class Liqe(Strict):
    """LIQE."""

    checkpoint: Literal["koniq", "mix"]

    @property
    def metric(self) -> Metric:
        pyiqa = "liqe" if self.checkpoint == "koniq" else "liqe_mix"
        files = ("hub/clip/ViT-B-32.pt", f"hub/pyiqa/liqe_{self.checkpoint}.pt")
        # It looks at windows of 224 x 224.
        return Metric("liqe", f"liqe@{self.checkpoint}", "LIQE", True, False, pyiqa, 4, 224, weights=files)


class Fid(Strict):
    """FID between the restored and the HR images of a set, resized as clean-fid does."""

    @property
    def metric(self) -> Metric:
        file = "hub/pyiqa/pt_inception-2015-12-05-6726825d.pth"
        return Metric("fid", "fid@inception,clean", "FID", False, True, "fid", 2, 1, weights=(file,), of_set=True)


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
    """What a protocol file may say."""

    summary: str = Field(description="what a reader of a table must know, in words")
    metrics: Definitions
