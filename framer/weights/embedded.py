"""Tensors that ship inside installed packages, converted to safetensors. Nothing of the packages is imported.

The formats, by `EmbeddedFile.form`:

    lpips-flax   a pickle of nested dictionaries of NumPy arrays: a backbone's convolutions, kernels (kh, kw, in, out),
                 and LPIPS's 1x1 heads. Converted to torchvision's names `features.N.{weight,bias}`, kernels
                 (out, in, kh, kw), and `linN.model.1.weight`, (1, C, 1, 1).
    niqe-npz     NIQE's multivariate Gaussian, float64. Converted to `mu_prisparam`, (1, 36), and `cov_prisparam`,
                 (36, 36).
"""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from framer.errors import UserError, one_line
from framer.provenance.files import atomic
from framer.provenance.hashing import sha256_file
from framer.weights.manifest import EmbeddedFile

Tensors = dict[str, NDArray[Any]]

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
_CONVOLUTIONS = {"AlexNet_0": (0, 3, 6, 8, 10), "VGG16_0": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)}
"""Positions in torchvision's `features`, by the name of the backbone in the pickle."""


class _ArraysOnly(pickle.Unpickler):
    """Reads NumPy arrays and Python's containers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return _ALLOWED[module, name]


def convert(source: EmbeddedFile, folder: Path) -> None:
    """Write the tensors of a package's file to `folder / source.path`.

    Raises:
        UserError: the package is not installed, or its file or tensors are not those of the manifest.
    """
    path = source.located()
    again = f"install {source.package}=={source.version} again"
    if path is None:
        raise UserError(f"no {source.file} in an installed {source.package}; {again}", code="missing")
    if sha256_file(path) != source.sha256:
        raise UserError(f"not the file of the manifest (SHA-256); {again}", path=path, code="mismatch")
    try:
        tensors = _CONVERSIONS[source.form](path)
    except (OSError, ValueError, LookupError, AttributeError, pickle.UnpicklingError) as error:
        raise UserError(f"not {source.form} ({one_line(error)}); {again}", path=path, code="unreadable") from None
    _require(source, tensors, path)
    with atomic(folder / source.path) as part:
        save_file(tensors, part)


def verify(source: EmbeddedFile, folder: Path) -> None:
    """Check converted tensors against their manifest.

    Raises:
        UserError: the file cannot be read, or has other tensors.
    """
    path = folder / source.path
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"not safetensors ({one_line(error)}); delete it", path=path, code="unreadable") from None
    _require(source, tensors, path)


def digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of names, types, shapes and values, whichever file holds them."""
    found = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _require(source: EmbeddedFile, tensors: Tensors, path: Path) -> None:
    if digest(tensors) != source.tensors:
        message = (
            f"not the tensors of the manifest (SHA-256); install {source.package}=={source.version} and delete the file"
        )
        raise UserError(message, path=path, code="mismatch")


def _lpips_flax(path: Path) -> Tensors:
    with path.open("rb") as file:
        tree = _ArraysOnly(file).load()
    (backbone,) = tree.keys() & _CONVOLUTIONS.keys()
    tensors = {}
    for i, position in enumerate(_CONVOLUTIONS[backbone]):
        layer = tree[backbone][f"Conv_{i}"]
        tensors[f"features.{position}.weight"] = layer["kernel"].transpose(3, 2, 0, 1)
        tensors[f"features.{position}.bias"] = layer["bias"]
    for i in range(5):
        tensors[f"lin{i}.model.1.weight"] = tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].transpose(3, 2, 0, 1)
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def _niqe_npz(path: Path) -> Tensors:
    with np.load(path, allow_pickle=False) as arrays:
        return {"mu_prisparam": arrays["mu_pris_param"], "cov_prisparam": arrays["cov_pris_param"]}


_CONVERSIONS: dict[str, Callable[[Path], Tensors]] = {"lpips-flax": _lpips_flax, "niqe-npz": _niqe_npz}
