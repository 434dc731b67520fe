"""LoRA weights of PiSA-SR on disk: the released pickle, safetensors, and folders for diffusers and PEFT.

All of them hold the same tensors, bit for bit. The released file is a dict of nine keys: six lists of module names, two
ranks, and `state_dict_unet`. LoRA's alpha is in none of them; it is `ALPHA`.
"""

import io
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor

from framer.backbones.loading import opened, read_tensors
from framer.backbones.pisa_sr.lora import ALPHA, GROUPS, SETS, Group, LoraSet, add_lora, lora_state
from framer.backbones.state_dict import load_exactly
from framer.errors import UserError, named, one_line
from framer.provenance.files import atomic, write_json

FORMS = ("safetensors", "official", "diffusers", "peft")

EMPTY_PROMPT = "empty_prompt"
"""The text embedding of '' that a run keeps beside its LoRA, so that restoring needs no text encoder."""

_WRAPPED = re.compile(r"^(?:(?:module|base_model\.model|_orig_mod)\.)+")
"""What DDP, PEFT and `torch.compile` put before the names of a network."""
_NAME = re.compile(r"(.+)\.lora_([AB])\.default_(encoder|decoder|others)_(pix|sem)\.weight")
_TENSORS = "state_dict_unet"
_LISTS = {(kind, group): f"unet_lora_{group}_modules_{kind}" for kind in SETS for group in GROUPS}
_RANKS = {kind: f"lora_rank_unet_{kind}" for kind in SETS}


@dataclass(frozen=True)
class LoraWeights:
    """Both LoRA sets, or the pixel set alone.

    Attributes:
        ranks: LoRA rank per set.
        modules: full names by group; the same for all sets.
        tensors: float, on the CPU, by the names of the released file, without the prefixes of wrappers: A (rank,
            inputs[, kernel]), B (outputs, rank[, 1, 1]).
    """

    ranks: dict[LoraSet, int]
    modules: dict[Group, list[str]]
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], source: str) -> "LoraWeights":
        """Check tensors and derive the rest from their names.

        Raises:
            UserError: names, shapes or values that are not those of LoRA sets of one rank each; `source` is named.
        """
        sides: dict[tuple[str, str, str], dict[str, Tensor]] = {}
        bare = {_WRAPPED.sub("", str(name)): tensor for name, tensor in tensors.items()}
        if len(bare) < len(tensors):
            message = "contains tensors twice, with and without a prefix such as 'module.'; keep one of each"
            raise UserError(message, path=source, code="conflict")
        for name, tensor in bare.items():
            match = _NAME.fullmatch(name)
            if not match or not isinstance(tensor, Tensor):
                raise UserError(f"{name!r} is not a LoRA tensor of PiSA-SR", path=source)
            if not tensor.is_floating_point() or not tensor.isfinite().all():
                raise UserError(f"{name!r} contains values that are not finite floating-point numbers", path=source)
            module, side, group, kind = match.groups()
            sides.setdefault((kind, group, module), {})[side] = tensor
        ranks: dict[LoraSet, int] = {}
        modules: dict[str, dict[str, list[str]]] = {kind: {group: [] for group in GROUPS} for kind in SETS}
        for (kind, group, module), pair in sides.items():
            if len(pair) != 2:
                raise UserError(f"{module!r} has {', '.join(pair)} of its {kind} LoRA, not both A and B", path=source)
            if not pair["A"].numel() or not pair["A"].ndim:
                raise UserError(
                    f"{module!r}: an A of shape {tuple(pair['A'].shape)} has no rank", path=source, code="mismatch"
                )
            rank = ranks.setdefault(cast(LoraSet, kind), pair["A"].shape[0])
            if pair["A"].ndim < 2 or pair["B"].ndim < 2 or {pair["A"].shape[0], pair["B"].shape[1]} != {rank}:
                shapes = f"A {tuple(pair['A'].shape)}, B {tuple(pair['B'].shape)}"
                raise UserError(
                    f"{module!r}: {shapes} is not of rank {rank} as the rest of {kind}", path=source, code="mismatch"
                )
            modules[kind][group].append(module)
        if "pix" not in ranks:
            raise UserError("contains no pixel LoRA weights of PiSA-SR", path=source)
        if "sem" in ranks and any(set(modules["pix"][group]) != set(modules["sem"][group]) for group in GROUPS):
            raise UserError("its pixel and semantic LoRA are on different modules", path=source, code="mismatch")
        return cls(ranks, cast(dict[Group, list[str]], modules["pix"]), bare)


def read_lora(path: Path) -> LoraWeights:
    """Read the released `.pkl`, or safetensors of `write_lora` or of a run. No code in a pickle is ever run.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    if path.suffix == ".safetensors":
        tensors, facts = _read_safetensors(path)
        tensors.pop(EMPTY_PROMPT, None)
        weights = LoraWeights.of(tensors, str(path))
        if (alpha := facts.get("lora_alpha", ALPHA)) != ALPHA:
            raise UserError(f"LoRA alpha {alpha}, not PiSA-SR's {ALPHA}", path=path)
        return weights
    return _read_official(path)


def load_lora(unet: UNet2DConditionModel, path: Path) -> None:
    """Add the LoRA sets of a file to a base U-Net if it has none, and load their weights.

    Args:
        unet: a base, or one that has the same sets at the same ranks.
        path: the released `.pkl`, or safetensors.

    Raises:
        UserError: the file cannot be read, or its tensors do not fit this U-Net.
    """
    install(unet, read_lora(path), str(path))


def install(unet: UNet2DConditionModel, weights: LoraWeights, source: str) -> None:
    """`load_lora` from memory; `source` names the weights in errors."""
    if not lora_state(unet):
        shapes = {name: module.weight.shape for name, module in unet.named_modules() if hasattr(module, "weight")}
        for name, tensor in weights.tensors.items():
            module, side, *_ = cast(re.Match[str], _NAME.fullmatch(name)).groups()
            if module not in shapes:
                raise UserError(
                    f"{module!r} is not a layer of this U-Net; the weights are of another model",
                    path=source,
                    code="mismatch",
                )
            base, at = shapes[module], 1 if side == "A" else 0
            if len(base) != tensor.ndim or tensor.shape[at] != base[at]:
                raise UserError(
                    f"{name!r}: {tuple(tensor.shape)} does not fit a layer of {tuple(base)}",
                    path=source,
                    code="mismatch",
                )
        for kind, rank in weights.ranks.items():
            add_lora(unet, kind, rank, weights.modules)
    load_exactly(lora_state(unet), weights.tensors, source)


def write_lora(weights: LoraWeights, out: Path, form: str) -> None:
    """Write LoRA weights.

    Args:
        weights: what to write.
        out: a file for `safetensors` and `official`, a folder for `diffusers` and `peft`.
        form: one of `FORMS`. `safetensors`, as `read_lora` reads it; `official`, the released nine keys; `diffusers`,
            one folder per set for `load_lora_weights`; `peft`, one folder per set for `PeftModel.from_pretrained`.

    Raises:
        UserError: the official format of weights that have no semantic set.
    """
    if form == "safetensors":
        _save(out, weights.tensors, metadata(weights.ranks))
    elif form == "official":
        _write_official(weights, out)
    else:
        for kind, rank in weights.ranks.items():
            _write_adapter(weights, kind, rank, out / {"pix": "pixel", "sem": "semantic"}[kind], form)


def metadata(ranks: Mapping[LoraSet, int]) -> dict[str, str]:
    """Return the metadata of the safetensors: a single entry, since their order is not fixed."""
    facts = {"lora_alpha": ALPHA, "timestep": 1} | {f"lora_rank_{kind}": rank for kind, rank in ranks.items()}
    return {"pisa_sr": json.dumps(facts)}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with opened(path) as file:
            facts = json.loads((file.metadata() or {}).get("pisa_sr", "{}"))
    except ValueError as error:
        raise UserError(f"its metadata is not JSON ({one_line(error)})", path=path, code="unreadable") from None
    return read_tensors(path), facts


def _read_official(path: Path) -> LoraWeights:
    try:
        read: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError("no such file", path=path, code="missing") from None
    except Exception as error:  # torch.load raises many types for damaged files
        reason = one_line(error)
        if isinstance(error, pickle.UnpicklingError):
            if re.search(r"GLOBAL|Unsupported (global|class)", str(error)):
                raise UserError(
                    "a pickle that could run code, not tensors alone; refused", path=path, code="unreadable"
                ) from None
            reason = "not what torch.save writes"  # torch's own words recommend to load it unsafely
        raise UserError(
            f"not a readable pickle of weights ({reason}); fetch it again", path=path, code="unreadable"
        ) from None
    keys = [*_LISTS.values(), *_RANKS.values(), _TENSORS]
    missing = [key for key in keys if not isinstance(read, dict) or key not in read]
    if missing:
        raise UserError(
            f"{named(missing, 3)} missing; not a released checkpoint of PiSA-SR", path=path, code="mismatch"
        )
    if not isinstance(read[_TENSORS], Mapping):
        raise UserError(f"{_TENSORS} is not a mapping of tensors; not a released checkpoint of PiSA-SR", path=path)
    weights = LoraWeights.of(read[_TENSORS], str(path))
    for kind, key in _RANKS.items():
        if weights.ranks.get(kind) != read[key]:
            raise UserError(
                f"{key} is {read[key]!r}, its tensors have rank {weights.ranks.get(kind)}", path=path, code="mismatch"
            )
    listed: dict[str, list[str]] = {}
    for (_, group), key in _LISTS.items():
        names = read[key] if isinstance(read[key], list) else []
        listed[key] = [_WRAPPED.sub("", str(name)) for name in names]
        if sorted(listed[key]) != sorted(weights.modules[group]):
            raise UserError(f"{key} lists other modules than its tensors", path=path, code="mismatch")
    # In the order of the file, which a round trip keeps.
    return LoraWeights(weights.ranks, {group: listed[_LISTS["pix", group]] for group in GROUPS}, weights.tensors)


def _write_official(weights: LoraWeights, out: Path) -> None:
    if set(weights.ranks) != set(SETS):
        raise UserError("the official format contains both LoRA sets; these weights have only the pixel set", path=out)
    content: dict[str, Any] = {key: list(weights.modules[group]) for (_, group), key in _LISTS.items()}
    content |= {key: weights.ranks[kind] for kind, key in _RANKS.items()}
    buffer = io.BytesIO()  # torch.save writes the name of a file into it
    torch.save(content | {_TENSORS: weights.tensors}, buffer)
    with atomic(out) as part:
        part.write_bytes(buffer.getvalue())


def _write_adapter(weights: LoraWeights, kind: LoraSet, rank: int, folder: Path, form: str) -> None:
    """One set as one adapter: its three groups have no module in common."""
    tensors = {}
    for name, tensor in weights.tensors.items():
        module, side, _, of = cast(re.Match[str], _NAME.fullmatch(name)).groups()
        if of == kind:
            tensors[f"{module}.lora_{side}.weight"] = tensor
    modules = sorted(name for group in GROUPS for name in weights.modules[group])
    config = LoraConfig(r=rank, lora_alpha=ALPHA, init_lora_weights="gaussian", target_modules=modules).to_dict()
    config["target_modules"] = modules
    if form == "peft":
        write_json(folder / "adapter_config.json", config)
        tensors = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
        _save(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    else:
        described = {"lora_adapter_metadata": json.dumps({f"unet.{key}": value for key, value in config.items()})}
        tensors = {f"unet.{name}": tensor for name, tensor in tensors.items()}
        _save(folder / "pytorch_lora_weights.safetensors", tensors, described)


def _save(path: Path, tensors: Mapping[str, Tensor], described: dict[str, str]) -> None:
    with atomic(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, described)
