"""What a study file may say of its analyses."""

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from framer.config_file import Name, Strict


class CostConfig(Strict):
    """How the cost of training is measured; it never is where a study does not say so."""

    steps: int = Field(50, ge=1, description="training steps a block that are timed; blocks of the arms alternate")
    warmup: int = Field(5, ge=1, description="steps a block before those")
    blocks: int = Field(4, ge=1, description="blocks an arm, each a process of its own")
    batch: int = Field(1, ge=1, description="images a step")
    crop: int = Field(512, ge=32, le=8192, multiple_of=32, description="side of the HR crop, pixels")


class AnalysisConfig(Strict):
    """What is recorded of the trained models for the paper's figures of analysis."""

    compared: ClassVar[tuple[str, ...]] = ("paper", "no_faw_no_fam", "no_faw", "no_fam")
    """The recipes whose early training is looked at, in the order of the figure."""

    set: Name = Field(description="a paired set")
    images: int = Field(16, ge=2, description="how many of it, from the start")
    snapshots: list[Annotated[int, Field(ge=1)]] = Field(
        default=[], description="steps after which adapters are kept, counted over all stages"
    )
    seed: int | None = Field(None, ge=0, description="which training seed; default: the first")
    cost: CostConfig | None = None

    @field_validator("snapshots")
    @classmethod
    def _in_order(cls, steps: list[int]) -> list[int]:
        if steps != sorted(set(steps)):
            raise ValueError("name each step once, in their order")
        return steps
