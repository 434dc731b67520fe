"""The scores of one image, and how a journal keeps them."""

import base64
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Feature = NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """One image's scores, and what FID needs of it."""

    image: str
    """The SR file's name."""
    sha256: dict[str, str]
    """Of the files: "sr", and "hr" where there is one."""
    values: dict[str, float]
    """By the metrics' short names."""
    features: dict[str, Feature] = field(default_factory=dict)
    """For metrics of whole sets: one vector each of "sr" and "hr"."""

    def as_json(self) -> list[Any]:
        """All but the name, as JSON takes it; the features keep every bit."""
        features = {side: base64.b64encode(vector.tobytes()).decode() for side, vector in self.features.items()}
        return [self.sha256, self.values, features]

    @classmethod
    def from_json(cls, image: str, value: list[Any]) -> Self:
        """What `as_json` gave."""
        sha256, values, features = value
        vectors = {side: np.frombuffer(base64.b64decode(text), np.float32) for side, text in features.items()}
        return cls(image, sha256, values, vectors)
