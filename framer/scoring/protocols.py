"""What a metric's name means. One name has several definitions in the literature; a protocol picks one for each.

Papers of this field print three quantities as PSNR and two as MANIQA. Here a metric is its exact id, such as
`psnr@y-bt601-limited,c0`, and a number is never shown without the protocol that it was made under.
"""

from dataclasses import dataclass, field
from types import MappingProxyType

from framer.errors import UserError, unknown


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

    @property
    def heading(self) -> str:
        """Title with an arrow in the direction of better."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Protocol:
    """A named set of definitions, one a metric name, in the order of the tables."""

    name: str
    summary: str
    """What a reader of a table must know, in words."""
    metrics: tuple[Metric, ...]

    def __post_init__(self) -> None:
        names = [metric.name for metric in self.metrics]
        if len(names) != len(set(names)):
            raise ValueError(f"protocol {self.name!r} defines a metric twice: {', '.join(names)}")

    def select(self, names: list[str]) -> list[Metric]:
        """The named metrics, in the protocol's order.

        Raises:
            UserError: no name, an unknown one, or one twice.
        """
        if not names:
            raise UserError(f"protocol {self.name!r}: no metric named; name some of {', '.join(self._by_name)}")
        for name in names:
            if name not in self._by_name:
                raise UserError(f"protocol {self.name!r}: {unknown('metric', name, self._by_name)}")
            if names.count(name) > 1:
                raise UserError(f"protocol {self.name!r}: metric {name!r} is named twice")
        return [metric for metric in self.metrics if metric.name in names]

    @staticmethod
    def named(name: str) -> "Protocol":
        """One of `PROTOCOLS`.

        Raises:
            UserError: there is none of that name.
        """
        if name not in PROTOCOLS:
            raise UserError(unknown("protocol", name, PROTOCOLS))
        return PROTOCOLS[name]

    @property
    def _by_name(self) -> dict[str, Metric]:
        return {metric.name: metric for metric in self.metrics}


def _psnr(id: str, **options: bool | int | str) -> Metric:
    return Metric("psnr", id, "PSNR", True, True, "psnr", 2, 1, MappingProxyType(options))


def _ssim(id: str, **options: bool | int | str) -> Metric:
    # The 11 x 11 window must fit.
    return Metric("ssim", id, "SSIM", True, True, "ssim", 4, 11, MappingProxyType(options))


def _maniqa(id: str, pyiqa: str, weights: str) -> Metric:
    # Since pyiqa 0.1.12 the 20 crops lie on a fixed grid; before, they were random and depended on the call order.
    return Metric("maniqa", f"{id},grid20", "MANIQA", True, False, pyiqa, 4, 1, weights=(f"hub/pyiqa/{weights}",))


LPIPS = Metric(
    "lpips",
    "lpips@alex-v0.1",
    "LPIPS",
    higher_is_better=False,
    needs_hr=True,
    pyiqa="lpips",
    digits=4,
    # Below this AlexNet's last pooling has nothing left.
    min_side=31,
    weights=("hub/checkpoints/alexnet-owt-7be5be79.pth", "hub/pyiqa/LPIPS_v0.1_alex-df73285e.pth"),
)
NIQE = Metric(
    "niqe",
    "niqe@live,y-yiq-full,c0",
    "NIQE",
    higher_is_better=False,
    needs_hr=False,
    pyiqa="niqe",
    digits=4,
    # Its features are of whole blocks of 96 x 96; an image this small has just one.
    min_side=96,
    weights=("hub/pyiqa/niqe_modelparameters.mat",),
)
MUSIQ = Metric(
    "musiq",
    "musiq@koniq",
    "MUSIQ",
    higher_is_better=True,
    needs_hr=False,
    pyiqa="musiq",
    digits=2,
    min_side=1,
    weights=("hub/pyiqa/musiq_koniq_ckpt-e95806b9.pth",),
)

OSEDIFF = Protocol(
    name="osediff",
    summary=(
        "PSNR and SSIM on the Y channel of limited-range BT.601 (16 to 235), no border cropped; LPIPS with AlexNet; "
        "MANIQA trained on PIPAL, MUSIQ on KonIQ-10k"
    ),
    metrics=(
        _psnr("psnr@y-bt601-limited,c0", test_y_channel=True, color_space="ycbcr"),
        _ssim("ssim@y-bt601-limited,c0", test_y_channel=True, color_space="ycbcr"),
        LPIPS,
        NIQE,
        _maniqa("maniqa@pipal", "maniqa-pipal", "MANIQA_PIPAL-ae6d356b.pth"),
        MUSIQ,
    ),
)

FRAMER = Protocol(
    name="framer",
    summary=(
        "PSNR on RGB, SSIM on the full-range Y channel of YIQ, no border cropped; LPIPS with AlexNet; "
        "MANIQA and MUSIQ trained on KonIQ-10k"
    ),
    metrics=(
        _psnr("psnr@rgb,c0", test_y_channel=False),
        _ssim("ssim@y-yiq-full,c0", test_y_channel=True, color_space="yiq"),
        LPIPS,
        NIQE,
        _maniqa("maniqa@koniq", "maniqa", "ckpt_koniq10k.pt"),
        MUSIQ,
    ),
)

PROTOCOLS = {protocol.name: protocol for protocol in (OSEDIFF, FRAMER)}
