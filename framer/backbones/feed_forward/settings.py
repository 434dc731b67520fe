"""The settings of networks that restore in one pass. Without torch: studies are read before anything heavy."""

from pydantic import Field, model_validator

from framer.backbones.settings import RestoreSettings, Settings


class FeedForwardRestore(RestoreSettings):
    """How an image is restored."""

    tile: int = Field(default=512, ge=32, description="longest side of what the network sees at once, pixels of LR")
    overlap: int = Field(default=32, ge=0, description="least overlap of neighboring tiles, pixels of LR")

    @model_validator(mode="after")
    def _tiles_advance(self) -> "FeedForwardRestore":
        if self.overlap >= self.tile:
            raise ValueError(f"overlap: {self.overlap} is not below the tile of {self.tile}")
        return self


class FeedForwardSettings(Settings):
    """A network in a file of weights. Nothing of it is trained here."""

    backbone = "framer.backbones.feed_forward.model:FeedForward"
    stages = ()

    restore: FeedForwardRestore = FeedForwardRestore()
