"""Weights of DiT4SR on disk: a Stable Diffusion 3.5 base, a whole released transformer, or a delta between the two.

A released checkpoint repeats its frozen base: 6.6 GB, of which a delta keeps the 0.7 GB that were trained. What nothing
reads (the text weights of the second attentions) is in no base and in no delta; a whole checkpoint that is made of the
two has zeros there, and gives the same outputs to the bit.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from framer.backbones.dit4sr.blocks import Key
from framer.backbones.dit4sr.transformer import VARIANT, DiT4SRTransformer, is_control, is_dead_text
from framer.backbones.loading import opened, read_tensors
from framer.backbones.state_dict import same_names, same_shapes
from framer.errors import UserError
from framer.provenance.files import atomic, write_json
from framer.provenance.hashing import sha256_file

DELTA = "dit4sr-delta"
"""Marks a delta in its metadata, and names the sha256 of its base's files."""

WEIGHTS = "diffusion_pytorch_model"


def open_transformer(folder: Path, key: Key) -> tuple[DiT4SRTransformer, bool]:
    """A network with the weights of a folder in diffusers' layout, in the files' own dtypes.

    Args:
        folder: config.json and safetensors, of Stable Diffusion 3.5 or of DiT4SR.
        key: as for `DiT4SRTransformer`.

    Returns:
        The network, and whether its control weights are trained ones; if not, they are zeros and to be started.

    Raises:
        UserError: the folder cannot be read, or its weights are of another model.
    """
    config = _config(folder)
    with torch.device("meta"):
        network = DiT4SRTransformer(**config, key=key)
    expected = network.state_dict()
    found = dict.fromkeys(name for file in _files(folder) for name in _names(file))
    bare = {name for name in expected if is_control(name) or is_dead_text(name)}
    trained = any(is_control(name) for name in found)
    same_names(expected.keys() - (set() if trained else bare), found.keys(), folder)
    for file in _files(folder):
        state = read_tensors(file)
        same_shapes(expected, state, file)
        network.load_state_dict(state, strict=False, assign=True)
    dtype = network.proj_out.weight.dtype
    _materialise(network, lambda tensor: torch.zeros(tensor.shape, dtype=dtype))
    return network, trained


def read_delta(path: Path) -> dict[str, Tensor]:
    """The control weights of a delta by their released names.

    Raises:
        UserError: the file is no delta.
    """
    state = read_tensors(path)
    if not state or not all(is_control(name) for name in state):
        raise UserError(f"{path}: not a delta of DiT4SR: it holds other tensors than control weights")
    return state


def read_published(path: Path, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The control weights of a delta, or of the one file of a whole checkpoint, whose other tensors must be the base's.

    Args:
        path: safetensors.
        base: the tensors of Stable Diffusion 3.5, by name.

    Raises:
        UserError: the file cannot be read, holds no control weights, or was trained on another base.
    """
    state = read_tensors(path)
    control = {name: tensor for name, tensor in state.items() if is_control(name)}
    if not control:
        raise UserError(f"{path}: holds no control weights; name a delta or a whole checkpoint of DiT4SR")
    for name, tensor in state.items():
        if is_control(name) or is_dead_text(name):
            continue
        if name not in base or not torch.equal(base[name].to(tensor.dtype), tensor):
            raise UserError(f"{path}: {name!r} is not the base's; these weights were trained on another base")
    return control


def to_delta(whole: Path, base: Path, out: Path) -> None:
    """Take the control weights out of a whole checkpoint, after checking that the rest is the base.

    Args:
        whole: folder of a DiT4SR transformer.
        base: folder of the transformer of Stable Diffusion 3.5 that it was trained on.
        out: the delta, a safetensors file; dtypes stay.

    Raises:
        UserError: a folder cannot be read, or a frozen tensor is not the base's in the checkpoint's dtype.
    """
    frozen = {name: file for file in _files(base) for name in _names(file)}
    if any(is_control(name) for name in frozen):
        raise UserError(f"{base}: a DiT4SR checkpoint itself; name the base that it started from")
    control: dict[str, Tensor] = {}
    for file in _files(whole):
        for name, tensor in read_tensors(file).items():
            if is_control(name):
                control[name] = tensor
            elif name in frozen:
                if not torch.equal(_tensor(frozen.pop(name), name).to(tensor.dtype), tensor):
                    raise UserError(f"{whole}: {name!r} is not the one of {base}; the delta would be of another base")
            elif not is_dead_text(name):
                raise UserError(f"{whole}: has an unknown tensor {name!r}; it is of another model")
    if not control or frozen:
        what = "no control weights" if not control else f"no tensor {min(frozen)!r}"
        raise UserError(f"{whole}: has {what}; name a whole DiT4SR transformer")
    write_delta(control, out, _hashes(base))


def write_delta(control: dict[str, Tensor], out: Path, base: str = "") -> None:
    """Write control weights as a delta; `base` is what `to_whole` holds its base to, where it is known."""
    with atomic(out) as part:
        save_file(control, part, {DELTA: base})  # one entry: safetensors writes several in any order


def to_whole(base: Path, delta: Path, out: Path, *, released_name: bool = False) -> None:
    """Put a delta on its base: one folder that `DiT4SRTransformer.from_pretrained` reads, in the delta's mixed dtypes.

    Args:
        base: folder of the transformer of Stable Diffusion 3.5.
        delta: file of `to_delta`, or the weights of a run.
        out: folder of the whole transformer; frozen tensors are float16, as released.
        released_name: name the weights as the released code reads them. Diffusers' own SD3 class reads them, too, and
            drops the LR stream with no more than a warning.

    Raises:
        UserError: a file cannot be read, the base is not the delta's, or tensors are missing.
    """
    control = read_delta(delta)
    recorded = _metadata(delta).get(DELTA)
    if recorded and recorded != _hashes(base):
        raise UserError(f"{delta}: made for another base than {base}")
    config = _config(base)
    with torch.device("meta"):
        expected = DiT4SRTransformer(**config).state_dict()
    frozen = {name: tensor.half() for file in _files(base) for name, tensor in read_tensors(file).items()}
    state = {
        name: torch.zeros(tensor.shape, dtype=torch.float16) for name, tensor in expected.items() if is_dead_text(name)
    }
    # A run of the released key keeps no key projections of the LR stream: they are dead, and zero.
    dead_keys = {name for name in expected if "to_k_control" in name} - control.keys()
    state |= {name: torch.zeros(expected[name].shape) for name in dead_keys} | frozen | control
    same_names(expected.keys(), state.keys(), delta)
    same_shapes(expected, state, delta)
    name = f"{WEIGHTS}.safetensors" if released_name else f"{WEIGHTS}.{VARIANT}.safetensors"
    with atomic(out / name) as part:
        save_file(state, part, {"format": "pt"})
    write_json(out / "config.json", {"_class_name": "DiT4SRTransformer", **config})


def _materialise(network: nn.Module, make: Callable[[Tensor], Tensor]) -> None:
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                setattr(module, name, nn.Parameter(make(parameter)))


def _config(folder: Path) -> dict[str, Any]:
    """The constructor's arguments; keys that belong to one reading (`key`, `injection_scale`) are the caller's."""
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = inspect.signature(DiT4SRTransformer.__init__).parameters.keys() - {"self", "key", "injection_scale"}
        return {name: config[name] for name in sorted(known & config.keys())}
    except (OSError, ValueError, AttributeError):
        raise UserError(f"{path}: missing or no configuration of a transformer in diffusers' layout") from None


def _files(folder: Path) -> list[Path]:
    """The weight files of a folder: ours, or one file or the shards of an index under the usual name."""
    for stem in (f"{WEIGHTS}.{VARIANT}", WEIGHTS):
        if (single := folder / f"{stem}.safetensors").is_file():
            return [single]
    try:
        index = json.loads((folder / f"{WEIGHTS}.safetensors.index.json").read_text(encoding="utf-8"))
        return [folder / name for name in sorted(set(index["weight_map"].values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{folder}: holds no {WEIGHTS}.safetensors; name a transformer in diffusers' layout") from None


def _names(path: Path) -> list[str]:
    with opened(path) as file:
        return list(file.keys())


def _tensor(path: Path, name: str) -> Tensor:
    with opened(path) as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def _metadata(path: Path) -> dict[str, str]:
    with opened(path) as file:
        return file.metadata() or {}


def _hashes(folder: Path) -> str:
    return " ".join(sha256_file(file) for file in _files(folder))
