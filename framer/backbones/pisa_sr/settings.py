"""The settings of PiSA-SR. Without torch: studies are read before anything heavy is imported."""

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from framer.backbones.settings import RestoreSettings, Settings
from framer.errors import UserError

if TYPE_CHECKING:
    from framer.method.recipe import Recipe


class PiSASRRestore(RestoreSettings):
    """How PiSA-SR restores: in one step, or in two passes where the two lambdas differ."""

    renamed: ClassVar[Mapping[str, str]] = {"colour": "color"}

    lambda_pix: float = Field(default=1.0, ge=0, description="weight of what the pixel LoRA removes")
    lambda_sem: float = Field(default=1.0, ge=0, description="weight of what the semantic LoRA adds")
    posterior: Literal["mode", "sample"] = Field(
        default="mode", description="latent of the LR image: the VAE's most likely one, or a seeded sample, as released"
    )
    color: Literal["adain", "wavelet", "none"] = Field(default="adain", description="color fix against the LR image")
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
    """PiSA-SR. Defaults are those of the released training script; docs/reproduction.md lists where it is silent."""

    backbone = "framer.backbones.pisa_sr.model:PiSASR"
    layers = "framer.backbones.pisa_sr.features"
    stages = ("pixel", "semantic")
    skips = True
    truths = ("latent", "image")

    rank_pix: int = Field(default=4, ge=1, le=1024, description="LoRA rank of the pixel set")
    rank_sem: int = Field(default=4, ge=1, le=1024, description="LoRA rank of the semantic set")
    l2: float = Field(default=1.0, gt=0, description="weight of L2 in the pixel stage")
    semantic_l2: float = Field(
        default=1.0, ge=0, description="weight of L2 in the semantic stage; the paper's figure: 0"
    )
    lpips: float = Field(default=2.0, ge=0, description="weight of LPIPS (VGG-16)")
    csd: float = Field(default=1.0, ge=0, description="weight of classifier score distillation")
    csd_guidance: float = Field(default=7.5, ge=0, description="guidance scale of the CSD teacher")
    csd_from: float = Field(default=0.02, ge=0, le=1, description="least timestep of CSD, as a fraction")
    csd_to: float = Field(default=0.5, ge=0, le=1, description="timesteps of CSD stay below this fraction")
    prompt_drop: float = Field(default=0.5, ge=0, le=1, description="share of samples whose prompt is empty")
    posterior: Literal["mode", "sample"] = Field(default="sample", description="latent of the LR image in training")
    framer_stages: list[Literal["pixel", "semantic"]] = Field(
        default=["pixel", "semantic"], description="stages of the FRAMER loss; not stated in the paper"
    )
    framer_maps: Literal["latents", "features"] = Field(
        default="latents",
        description="to what FRAMER's heads project: latents, taught by the output, or features of the last block",
    )
    gradient_checkpointing: bool = Field(default=False, description="less memory for a second forward pass")
    restore: PiSASRRestore = PiSASRRestore()

    def needs(self, stages: Container[str]) -> tuple[str, ...]:
        return ("lpips-vgg",) if self.lpips and "semantic" in stages else ()

    def check(self, recipe: "Recipe") -> None:
        super().check(recipe)
        if recipe.teacher == "truth" and not recipe.external and self.framer_maps == "features":
            message = "no truth of features is known; set framer_maps: latents, or another teacher"
            raise UserError(message, key="recipe.teacher", code="conflict")

    @model_validator(mode="after")
    def _something_is_learnt(self) -> "PiSASRSettings":
        if not (self.semantic_l2 or self.lpips or self.csd):
            raise ValueError("semantic_l2, lpips and csd are all 0; the semantic stage would learn nothing")
        if int(self.csd_from * 1000) >= int(self.csd_to * 1000):
            raise ValueError(f"csd_from: {self.csd_from} is not below csd_to, {self.csd_to}")
        return self
