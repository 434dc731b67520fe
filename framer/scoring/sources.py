"""Which definition of a metric papers and scripts of the field use, and how that is known."""

from dataclasses import dataclass

from tabulate import tabulate


@dataclass(frozen=True)
class Source:
    """One paper or script. A metric that it does not report, or whose definition is not known, is left out."""

    name: str
    evidence: str
    """Where its definitions are from: its own script, a statement of its authors, or an inference from its numbers."""
    ids: tuple[str, ...]
    """The exact definitions, at most one per metric."""


_Y = "y-bt601-limited,c0"
_OSEDIFF = (f"psnr@{_Y}", f"ssim@{_Y}", "lpips@alex-v0.1", "niqe@live,y-yiq-full,c0")

SOURCES = (
    Source("SinSR", "its script", _OSEDIFF[:3]),
    Source(
        "SeeSR",
        "its author states Y and a border of 4; the range of Y and NIQE's border are inferred from numbers",
        ("psnr@y-bt601-limited,c4", "ssim@y-bt601-limited,c4", "lpips@alex-v0.1", "niqe@live,y-yiq-full,c4"),
    ),
    Source(
        "CCSR",
        "its script, which crops for LPIPS too",
        ("psnr@y-bt601-limited,c4", "ssim@y-bt601-limited,c4", "lpips@alex-v0.1,c4"),
    ),
    Source("OSEDiff", "its script, and its published per-image scores", _OSEDIFF),
    Source("TSD-SR", "its script", _OSEDIFF),
    Source("AdcSR", "its script", _OSEDIFF),
    Source("InvSR", "its script, which also reports LPIPS with VGG", _OSEDIFF),
    Source("PiSA-SR", "inferred: its numbers agree with OSEDiff's recipe; no script is published", _OSEDIFF),
    Source("DiT4SR", "inferred: its numbers for OSEDiff are OSEDiff's; no script is published", _OSEDIFF[:3]),
    Source(
        "FaithDiff",
        "its script",
        ("psnr@rgb,c0", "ssim@y-yiq-full,c0", "lpips@alex-v0.1", "niqe@live,y-yiq-full,c0"),
    ),
    Source(
        "FRAMER",
        "its released script; the PSNR of its table agrees with RGB",
        ("psnr@rgb,c0", "ssim@y-yiq-full,c0", "lpips@alex-v0.1", "niqe@live,y-yiq-full,c0"),
    ),
)


def users(definition: str) -> list[str]:
    """The names of the sources that use a definition, by its exact id."""
    return [source.name for source in SOURCES if definition in source.ids]


def table() -> str:
    """All sources as Markdown, a row each: the definition of each metric without its name, and how it is known."""
    metrics = ("psnr", "ssim", "lpips", "niqe")
    rows = []
    for source in SOURCES:
        ids = dict(definition.split("@") for definition in source.ids)
        rows.append([source.name, *(ids.get(metric, "") for metric in metrics), source.evidence])
    return tabulate(rows, ["source", *map(str.upper, metrics), "evidence"], tablefmt="github")
