"""Recorded arrays with named axes: the data of the analysis figures.

A file `results/<study>/analysis/<backbone>/NAME.npz` holds arrays. Beside each array `x` is `x.axes`, the names of its
axes; labels of an axis are under `axis:NAME`, as text or numbers. `about:KEY` is text: the quantity and the method.
Four files are known, see `KNOWN`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from framer.errors import UserError, one_line
from framer.provenance.files import atomic

KNOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "densities": {"density": ("band", "bin"), "deviation": ("band", "bin"), "edges": ("edge",)},
    "layers": {"similarity": ("arm", "band", "layer", "image")},
    "images": {"similarity": ("band", "image", "other")},
    "weights": {"faw": ("moment", "band", "layer", "image"), "fam": ("moment", "band", "layer", "image")},
}
"""By file: its arrays and their axes.

densities   magnitudes log(1 + |F|) in each ring over a set of images: mean and deviation over images (Fig. 2)
layers      cosine of every layer to the final one, -1 to 1 (Figs. 3 and 7)
images      cosine between the images of a batch, -1 to 1 (Fig. 5)
weights     FAW and FAM of every layer at some moments of training, 0 to 1 (Fig. 9)
"""


@dataclass(frozen=True)
class Recorded:
    """The arrays of one file, and the labels of their axes."""

    arrays: dict[str, NDArray[np.float64]]
    labels: dict[str, tuple[str, ...]]
    about: dict[str, str] = field(default_factory=dict)
    """The quantity and the method, in words."""

    def along(self, axis: str, length: int) -> tuple[str, ...]:
        """The labels of an axis, or its indices."""
        return self.labels.get(axis, tuple(str(index) for index in range(length)))


def write(
    path: Path,
    arrays: Mapping[str, NDArray[np.float64]],
    labels: Mapping[str, tuple[str, ...]],
    about: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a known file; the same values give the same bytes.

    Args:
        path: `.../NAME.npz` with a name in `KNOWN`.
        arrays: all arrays of that file, with the order of axes in `KNOWN`.
        labels: by axis, one per entry.
        about: the feature, the masks, the run.

    Raises:
        ValueError: an array is missing or unexpected, or its shape contradicts the labels.
        UserError: a value is not finite.
    """
    axes = KNOWN[path.stem]
    _check(arrays, axes, labels)
    if wrong := [name for name, values in arrays.items() if not np.isfinite(values).all()]:
        message = "has values that are not finite; look at the runs that it is recorded from"
        raise UserError(message, path=path, key=wrong[0], code="diverged")
    content: dict[str, NDArray[np.generic]] = {}
    for name, values in arrays.items():
        content |= {name: np.asarray(values, dtype=np.float64), f"{name}.axes": np.array(axes[name])}
    content |= {f"axis:{name}": np.array(of_axis) for name, of_axis in labels.items()}
    content |= {f"about:{key}": np.array(text) for key, text in about.items()}
    with atomic(path) as part, part.open("wb") as file:
        np.savez(file, **content)  # type: ignore[arg-type]


def read(path: Path) -> Recorded:
    """Read a known file.

    Raises:
        UserError: it is damaged, or does not hold the arrays of that name.
    """
    axes = KNOWN[path.stem]
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        named = {name: tuple(map(str, content[f"{name}.axes"])) for name in axes}
        if named != axes:
            raise ValueError(f"its axes are {named}")
        arrays = {name: content[name].astype(np.float64) for name in axes}
        labels = {name[5:]: tuple(map(str, of)) for name, of in content.items() if name.startswith("axis:")}
        about = {name[6:]: str(text) for name, text in content.items() if name.startswith("about:")}
        _check(arrays, axes, labels)
        if not all(np.isfinite(values).all() for values in arrays.values()):
            raise ValueError("its values are not all finite")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        message = f"not the arrays of {path.stem} ({one_line(error)}); run framer analyse again"
        raise UserError(message, path=path, code="unreadable") from None
    return Recorded(arrays, labels, about)


def _check(
    arrays: Mapping[str, NDArray[np.float64]],
    axes: Mapping[str, tuple[str, ...]],
    labels: Mapping[str, tuple[str, ...]],
) -> None:
    if arrays.keys() != axes.keys():
        raise ValueError(f"needs the arrays {', '.join(axes)}")
    lengths = {name: len(of) for name, of in labels.items()}
    for name, values in arrays.items():
        if values.ndim != len(axes[name]):
            raise ValueError(f"{name} has {values.ndim} axes, not {', '.join(axes[name])}")
        for axis, length in zip(axes[name], values.shape, strict=True):
            if lengths.setdefault(axis, length) != length:
                raise ValueError(f"axis {axis} is {length} long in {name} and {lengths[axis]} elsewhere")


COLUMNS = ("arm", "quantity", "value", "device")
QUANTITIES = {
    "train_seconds_per_step": "Training, s per step",
    "train_memory_gib": "Training, peak GiB",
    "restore_seconds_per_image": "Restoring, s per image",
    "restore_memory_gib": "Restoring, peak GiB",
}
