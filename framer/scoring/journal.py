"""What a scoring job has done so far, one line an image, so that a job that is killed goes on where it was."""

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framer.provenance import digest

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


class Journal:
    """A hidden file beside the scores to be. Lines of other work than `task` are of no use and are dropped."""

    def __init__(self, out: Path, task: dict[str, Any]):
        """
        Args:
            out: the score file to be.
            task: all that the values hang on beside the images: exact metric ids, weights, versions.
        """
        self.path = out.with_name(f".{out.name}.journal")
        self._head = digest(task)

    def read(self) -> dict[str, Scored]:
        """What is there, by image. A line that was cut short counts as not there."""
        try:
            head, *lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return {}
        if head != self._head:
            self.remove()
            return {}
        found = {}
        for line in lines:
            try:
                image, sha256, values, features = json.loads(line)
            except ValueError:
                continue
            found[image] = Scored(image, sha256, values, {side: _vector(text) for side, text in features.items()})
        return found

    def append(self, scored: Scored) -> None:
        """Keep one image's scores, on disk when this returns."""
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        features = {side: base64.b64encode(vector.tobytes()).decode() for side, vector in scored.features.items()}
        with self.path.open("a", encoding="utf-8") as file:
            # The line feed in front ends a line that a killed job left unfinished.
            file.write(self._head if new else "")
            file.write("\n" + json.dumps([scored.image, scored.sha256, scored.values, features]))

    def remove(self) -> None:
        """The scores are written, or are of no use."""
        self.path.unlink(missing_ok=True)


def _vector(text: str) -> Feature:
    return np.frombuffer(base64.b64decode(text), np.float32)
