"""Weights of DiT4SR on disk: a Stable Diffusion 3.5 base, a whole released transformer, or a delta between the two.

A released transformer repeats its frozen base: 6.6 GB, of which a delta keeps the 0.7 GB of trained weights. The unused
text weights of the second attentions are in no base and in no delta; a whole transformer that is made from the two has
zeros there, and gives the same outputs to the bit.
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
from framer.errors import UserError, unknown
from framer.provenance.files import atomic, write_json
from framer.provenance.hashing import sha256_file

FORMS = ("delta", "whole", "official")

DELTA = "dit4sr-delta"
"""Metadata key that marks a delta; its value is the SHA-256 of its base's files, where the base is known."""

WEIGHTS = "diffusion_pytorch_model"


def open_transformer(folder: Path, key: Key) -> tuple[DiT4SRTransformer, bool]:
    """A network with the weights of a folder in diffusers' layout, in the files' own dtypes.

    Args:
        folder: config.json and safetensors, of Stable Diffusion 3.5 or of DiT4SR.
        key: as for `DiT4SRTransformer`.

    Returns:
        The network, and whether its control weights are trained; if not, they are zeros and need to be initialized.

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
    _allocate(network, lambda tensor: torch.zeros(tensor.shape, dtype=dtype))
    return network, trained


def read_delta(path: Path) -> dict[str, Tensor]:
    """Read the control weights of a delta or of a run, by their released names.

    Raises:
        UserError: the file is not a delta.
    """
    state = read_tensors(path)
    if not state or not all(is_control(name) for name in state):
        raise UserError("not a delta of DiT4SR: it contains other tensors than control weights", path=path)
    return state


def read_published(path: Path, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the control weights of a delta, or of a whole transformer in one file whose other tensors are the base's.

    Args:
        path: safetensors.
        base: the tensors of Stable Diffusion 3.5, by name.

    Raises:
        UserError: the file cannot be read, contains no control weights, or was trained on another base.
    """
    state = read_tensors(path)
    control = {name: tensor for name, tensor in state.items() if is_control(name)}
    if not control:
        raise UserError("contains no control weights; name a delta or a whole transformer of DiT4SR", path=path)
    for name, tensor in state.items():
        if is_control(name) or is_dead_text(name):
            continue
        if name not in base or not torch.equal(base[name].to(tensor.dtype), tensor):
            raise UserError(
                f"{name!r} is not the base's; these weights were trained on another base", path=path, code="mismatch"
            )
    return control


def export(path: Path, out: Path, form: str, base: Path | None) -> None:
    """Convert between a delta and a whole transformer.

    Args:
        path: a delta, the weights of a run, or the one file of a whole transformer.
        out: a file for `delta`, else a folder.
        form: `delta`; `whole`, which `DiT4SRTransformer.from_pretrained` reads; or `official`, the same under the file
            name of the released weights. Diffusers' own SD3 class reads that one, too, and ignores the LR stream with
            no more than a warning.
        base: folder of the pipeline of Stable Diffusion 3.5. A delta of a whole transformer is checked against it, and
            a whole transformer contains it.

    Raises:
        UserError: a file cannot be read, the base is missing or another one, or there is no such form.
    """
    if form not in FORMS:
        raise UserError(unknown("form", form, ("run", *FORMS)), key="--to", code="unknown")
    if base is None:
        if form != "delta":
            raise UserError("required: the whole transformer contains its base", key="--base", code="missing")
        write_delta(read_delta(path), out)
        return
    folder = base / "transformer"
    frozen = {name: tensor for file in _files(folder) for name, tensor in read_tensors(file).items()}
    if any(is_control(name) for name in frozen):
        raise UserError("a DiT4SR transformer itself; name the base that it was trained on", path=folder)
    control, hashes = read_published(path, frozen), _hashes(folder)
    with opened(path) as file:
        recorded = (file.metadata() or {}).get(DELTA)
    if recorded and recorded != hashes:
        raise UserError(f"made for another base than {folder}", path=path, code="mismatch")
    if form == "delta":
        write_delta(control, out, hashes)
    else:
        _write_whole(control, frozen, _config(folder), out, VARIANT if form == "whole" else None, path)


def write_delta(control: Mapping[str, Tensor], out: Path, base: str = "") -> None:
    """Write control weights as a delta, in their dtypes; `base` is the SHA-256 of the base's files, if known."""
    with atomic(out) as part:
        save_file(dict(control), part, {DELTA: base})  # one entry: safetensors writes several in any order


def _write_whole(
    control: Mapping[str, Tensor],
    frozen: Mapping[str, Tensor],
    config: dict[str, Any],
    out: Path,
    variant: str | None,
    source: Path,
) -> None:
    """Write a folder with all weights; frozen tensors are float16, as released."""
    with torch.device("meta"):
        expected = DiT4SRTransformer(**config).state_dict()
    # With the released key, a run does not contain the LR stream's key projections: they are dead, and zero.
    unused = {name for name in expected if "to_k_control" in name} - control.keys()
    state = {name: torch.zeros(expected[name].shape) for name in unused}
    state |= {name: torch.zeros(tensor.shape).half() for name, tensor in expected.items() if is_dead_text(name)}
    state |= {name: tensor.half() for name, tensor in frozen.items()} | dict(control)
    same_names(expected.keys(), state.keys(), source)
    same_shapes(expected, state, source)
    name = f"{WEIGHTS}.{variant}.safetensors" if variant else f"{WEIGHTS}.safetensors"
    with atomic(out / name) as part:
        save_file(state, part, {"format": "pt"})
    write_json(out / "config.json", {"_class_name": "DiT4SRTransformer", **config})


def _allocate(network: nn.Module, make: Callable[[Tensor], Tensor]) -> None:
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                setattr(module, name, nn.Parameter(make(parameter)))


def _config(folder: Path) -> dict[str, Any]:
    """Read the constructor's arguments, without those that are settings (`key`, `injection_scale`)."""
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = inspect.signature(DiT4SRTransformer.__init__).parameters.keys() - {"self", "key", "injection_scale"}
        return {name: config[name] for name in sorted(known & config.keys())}
    except (OSError, ValueError, AttributeError):
        raise UserError(
            "missing or not a configuration of a transformer in diffusers' layout", path=path, code="unreadable"
        ) from None


def _files(folder: Path) -> list[Path]:
    """List the weight files of a folder: with `VARIANT` in their name, or one file or shards under the usual name."""
    for stem in (f"{WEIGHTS}.{VARIANT}", WEIGHTS):
        if (single := folder / f"{stem}.safetensors").is_file():
            return [single]
    try:
        index = json.loads((folder / f"{WEIGHTS}.safetensors.index.json").read_text(encoding="utf-8"))
        return [folder / name for name in sorted(set(index["weight_map"].values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"contains no {WEIGHTS}.safetensors; name a transformer in diffusers' layout", path=folder, code="missing"
        ) from None


def _names(path: Path) -> list[str]:
    with opened(path) as file:
        return list(file.keys())


def _hashes(folder: Path) -> str:
    return " ".join(sha256_file(file) for file in _files(folder))
