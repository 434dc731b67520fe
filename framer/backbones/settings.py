"""What a study may set of each backbone. Without torch: studies are read before anything heavy is imported.

What training reads is part of a run's identity; what only restoring reads stands under `restore`, so that another
number of sampler steps trains nothing again.
"""

from collections.abc import Container
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, model_validator

from framer.errors import UserError, unknown
from framer.strict_yaml import Strict, complaint


class RestoreSettings(Strict):
    """What restoring reads besides the checkpoint."""

    precision: Literal["float32", "bf16", "fp16"] = Field(
        default="float32", description="of frozen weights and arithmetic; fp16 on GPUs alone"
    )


class Settings(Strict):
    """The settings of one backbone; all of them have defaults.

    Attributes:
        backbone: where its class is, as `module:Class`. Imported only where a network is needed.
        stages: names of the training stages in their order; a study trains the first or more of them.
    """

    backbone: ClassVar[str]
    stages: ClassVar[tuple[str, ...]]

    restore: RestoreSettings = RestoreSettings()

    def needs(self, stages: Container[str]) -> tuple[str, ...]:
        """Ids of the manifests of weights that training some stages needs besides the base."""
        return ()

    @property
    def training(self) -> dict[str, Any]:
        """What makes the weights, as JSON-able values."""
        return self.model_dump(mode="json", exclude={"restore"})

    @property
    def set_for_restoring(self) -> dict[str, Any]:
        """What `restore` was given, without what stays at its default."""
        return self.restore.model_dump(mode="json", exclude_defaults=True)


class PiSASRRestore(RestoreSettings):
    """How PiSA-SR restores: in one step, or in two passes where the two lambdas differ."""

    lambda_pix: float = Field(default=1.0, ge=0, description="weight of what the pixel LoRA removes")
    lambda_sem: float = Field(default=1.0, ge=0, description="weight of what the semantic LoRA adds")
    posterior: Literal["mode", "sample"] = Field(
        default="mode", description="latent of the LR image: the VAE's most likely one, or a seeded sample, as released"
    )
    colour: Literal["adain", "wavelet", "none"] = Field(default="adain", description="colour fix against the LR image")
    tile: int = Field(default=96, ge=8, description="side of a U-Net tile, latent positions")
    overlap: int = Field(default=32, ge=0, description="least overlap of U-Net tiles, latent positions")
    tile_batch: int = Field(default=4, ge=1, description="U-Net tiles in a batch")
    vae_tile: int = Field(default=1024, ge=64, description="longer images go through the VAE in tiles, pixels")

    @model_validator(mode="after")
    def _tiles_advance(self) -> "PiSASRRestore":
        if self.overlap >= self.tile:
            raise ValueError(f"overlap: {self.overlap} is not below the tile of {self.tile}")
        return self


class PiSASRSettings(Settings):
    """PiSA-SR. Defaults are those of the released training script; docs/reproduction.md says where it is silent."""

    backbone = "framer.backbones.pisa_sr:PiSASR"
    stages = ("pixel", "semantic")

    rank_pix: int = Field(default=4, ge=1, description="LoRA rank of the pixel set")
    rank_sem: int = Field(default=4, ge=1, description="LoRA rank of the semantic set")
    l2: float = Field(default=1.0, gt=0, description="weight of L2 in the pixel stage")
    semantic_l2: float = Field(
        default=1.0, ge=0, description="weight of L2 in the semantic stage; the paper's figure: 0"
    )
    lpips: float = Field(default=2.0, ge=0, description="weight of LPIPS (VGG-16)")
    csd: float = Field(default=1.0, ge=0, description="weight of classifier score distillation")
    csd_guidance: float = Field(default=7.5, ge=0, description="guidance scale of the CSD teacher")
    csd_from: float = Field(default=0.02, ge=0, le=1, description="least timestep of CSD, as a fraction")
    csd_to: float = Field(default=0.5, ge=0, le=1, description="timesteps of CSD stay below this fraction")
    prompt_drop: float = Field(default=0.5, ge=0, le=1, description="share of samples whose tags the U-Net is not told")
    posterior: Literal["mode", "sample"] = Field(default="sample", description="latent of the LR image in training")
    framer_stages: list[Literal["pixel", "semantic"]] = Field(
        default=["pixel", "semantic"], description="stages in which the FRAMER loss acts; the paper does not say"
    )
    framer_maps: Literal["latents", "features"] = Field(
        default="latents",
        description="to what FRAMER's heads project: latents, taught by the output, or features of the last block",
    )
    gradient_checkpointing: bool = Field(default=False, description="less memory for a second forward pass")
    restore: PiSASRRestore = PiSASRRestore()

    def needs(self, stages: Container[str]) -> tuple[str, ...]:
        return ("lpips-vgg",) if self.lpips and "semantic" in stages else ()

    @model_validator(mode="after")
    def _something_is_learnt(self) -> "PiSASRSettings":
        if not (self.semantic_l2 or self.lpips or self.csd):
            raise ValueError("semantic_l2, lpips and csd are all 0; the semantic stage would learn nothing")
        if int(self.csd_from * 1000) >= int(self.csd_to * 1000):
            raise ValueError(f"csd_from: {self.csd_from} is not below csd_to, {self.csd_to}")
        return self


class DiT4SRRestore(RestoreSettings):
    """How DiT4SR samples. The defaults are those of the released script."""

    steps: int = Field(default=40, ge=1, le=1000, description="Euler steps an image")
    guidance: float = Field(default=8.0, ge=1, description="classifier-free guidance; 1 for none")
    injection_scale: float = Field(default=1.2, ge=0, description="factor on what the MLPs inject")
    positive: str = Field(
        default="Cinematic, hyper sharpness, highly detailed, perfect without deformations, camera, hyper detailed "
        "photo - realistic maximum detail, 32k, Color Grading, ultra HD, extreme meticulous detailing, skin pore "
        "detailing. ",
        description="appended to every prompt",
    )
    negative: str = Field(
        default="motion blur, noisy, dotted, bokeh, pointed, CG Style, 3D render, unreal engine, blurring, dirty, "
        "messy, worst quality, low quality, frames, watermark, signature, jpeg artifacts, deformed, lowres, chaotic",
        description="what guidance leads away from",
    )
    text_tokens: int = Field(default=256, ge=1, description="T5 tokens; training has its own number")
    posterior: Literal["sample", "mode"] = Field(default="sample", description="of the VAE, for the LR latent")
    tile: int = Field(default=64, ge=16, multiple_of=2, description="side of a tile, latent positions")
    overlap: int = Field(default=24, ge=0, multiple_of=2, description="least overlap of tiles, latent positions")
    tile_batch: int = Field(default=4, ge=1, description="tiles at a time")
    positions: Literal["local", "global"] = Field(
        default="local", description="position codes of a tile: as an image of its own, or where it lies"
    )
    vae_tile: int | None = Field(default=None, ge=64, description="side in pixels above which the VAE works in tiles")
    colour: Literal["adain", "wavelet", "none"] = Field(default="adain", description="colour fix against bicubic")
    fuse: bool = Field(default=False, description="merge projections: faster, equal up to rounding")


class DiT4SRSettings(Settings):
    """DiT4SR."""

    backbone = "framer.backbones.dit4sr:DiT4SR"
    stages = ("control",)

    key: Literal["released", "fixed"] = Field(
        default="released", description="key of the LR tokens: the noise key, normalised twice, or their own"
    )
    injection_scale: float = Field(default=1.0, ge=0, description="factor on what the MLPs inject, in training")
    control_out: Literal["random", "cloned"] = Field(
        default="random",
        description="start of the LR stream's output projections: random (released code), or the base's",
    )
    null_text: float = Field(default=0.2, ge=0, le=1, description="probability of the empty prompt in training")
    text_tokens: int = Field(default=77, ge=1, description="T5 tokens in training")
    posterior: Literal["sample", "mode"] = Field(default="sample", description="of the VAE, for training latents")
    caption_filter: Literal["objects", "none"] = Field(
        default="objects", description="drop sentences about the camera from captions, as the released code does"
    )
    gradient_checkpointing: bool = Field(default=False, description="less memory in training for a third more time")

    restore: DiT4SRRestore = DiT4SRRestore()


SETTINGS: dict[str, type[Settings]] = {"pisa_sr": PiSASRSettings, "dit4sr": DiT4SRSettings}
"""Settings of every backbone of this package, by its name."""

GROUP = "framer.backbones"
"""Entry points of backbones in other packages: the name, and the class of the settings."""


def settings_class(backbone: str) -> type[Settings]:
    """The settings of a backbone: one of `SETTINGS`, or one that an installed package names in its entry points.

    Raises:
        UserError: there is no such backbone, two packages have one of that name, or it cannot be imported.
    """
    if backbone in SETTINGS:
        return SETTINGS[backbone]
    installed = entry_points(group=GROUP)
    found = {entry.value: entry for entry in installed if entry.name == backbone}
    if not found:
        raise UserError(unknown("backbone", backbone, [*SETTINGS, *sorted(installed.names)]))
    if len(found) > 1:
        raise UserError(f"backbone {backbone!r}: {' and '.join(sorted(found))} have this name; uninstall one of them")
    (value,) = found
    try:
        loaded = found[value].load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"backbone {backbone!r}: {value} cannot be imported ({error}); mend its entry point") from None
    if not (isinstance(loaded, type) and issubclass(loaded, Settings)):
        raise UserError(f"backbone {backbone!r}: {value} is no subclass of framer.backbones.settings.Settings")
    return loaded


def backbone_module(backbone: str) -> str:
    """The dotted name of the module that a backbone's class is in. The module is not imported.

    Raises:
        UserError: as `settings_class`.
    """
    return settings_class(backbone).backbone.partition(":")[0]


def settings_of(backbone: str, *given: dict[str, Any]) -> Settings:
    """The settings of a backbone, each mapping over the one before it, key by key.

    Raises:
        UserError: an unknown backbone or key, or a wrong value; "KEY: what is wrong".
    """
    merged: dict[str, Any] = {}
    for layer in given:
        merged = _merge(merged, layer)
    cls = settings_class(backbone)
    try:
        return cls.model_validate(merged)
    except ValidationError as error:
        raise UserError(complaint(error, cls)) from None


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merge(low[key], high[key]) for key in low.keys() & high.keys() if _dicts(low[key], high[key])}
    return low | high | both


def _dicts(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)
