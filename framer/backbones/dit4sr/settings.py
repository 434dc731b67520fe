"""The settings of DiT4SR. Without torch: studies are read before anything heavy is imported."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from framer.backbones.settings import RestoreSettings, Settings


class DiT4SRRestore(RestoreSettings):
    """How DiT4SR samples. The defaults are those of the released script."""

    renamed: ClassVar[Mapping[str, str]] = {"colour": "color"}

    steps: int = Field(default=40, ge=1, le=1000, description="Euler steps per image")
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
    color: Literal["adain", "wavelet", "none"] = Field(default="adain", description="color fix against bicubic")
    fuse: bool = Field(default=False, description="merge projections: faster, equal up to rounding")


class DiT4SRSettings(Settings):
    """DiT4SR."""

    backbone = "framer.backbones.dit4sr.model:DiT4SR"
    layers = "framer.backbones.dit4sr.layers"
    stages = ("control",)
    truths = ("latent",)

    key: Literal["released", "fixed"] = Field(
        default="released", description="key of the LR tokens: the noise key, normalized twice, or their own"
    )
    injection_scale: float = Field(default=1.0, ge=0, description="factor on what the MLPs inject, in training")
    control_out: Literal["random", "cloned"] = Field(
        default="random",
        description="start of the LR stream's output projections: random (released code), or the base's",
    )
    null_text: float = Field(default=0.2, ge=0, le=1, description="probability of the empty prompt in training")
    text_tokens: int = Field(default=77, ge=1, description="T5 tokens in training")
    posterior: Literal["sample", "mode"] = Field(default="sample", description="of the VAE, for training latents")
    lr_kernel: Literal["torch", "pillow"] = Field(
        default="torch",
        description="bicubic kernel that upsamples LR in training: torch's (a = -0.75), as released, or Pillow's",
    )
    caption_filter: Literal["objects", "none"] = Field(
        default="objects", description="drop sentences about the camera from captions, as the released code does"
    )
    gradient_checkpointing: bool = Field(default=False, description="less memory in training for a third more time")

    restore: DiT4SRRestore = DiT4SRRestore()
