"""The two LoRA sets of PiSA-SR on a U-Net: their modules, their names, and which of them are active.

Each set, `pix` and `sem`, covers the same modules in three groups, and each group is one PEFT adapter, as in the
released checkpoint: `default_{encoder,decoder,others}_{pix,sem}`. The sets stay unmerged. Merging would round an update
of a few thousandths into half-precision weights, and the weights would then depend on which set was active last.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

LoraSet = Literal["pix", "sem"]
Group = Literal["encoder", "decoder", "others"]
SETS: tuple[LoraSet, ...] = get_args(LoraSet)
GROUPS: tuple[Group, ...] = get_args(Group)

ALPHA = 8
"""LoRA alpha of the released weights, PEFT's default: at rank 4 the update is scaled by alpha / rank = 2."""

TARGETS = (
    "to_k",
    "to_q",
    "to_v",
    "to_out.0",
    "conv",
    "conv1",
    "conv2",
    "conv_in",
    "conv_shortcut",
    "conv_out",
    "proj_out",
    "proj_in",
    "ff.net.2",
    "ff.net.0.proj",
)
"""A weight gets LoRA when its name contains one of these and neither "bias" nor "norm"."""


def adapter_name(group: Group, kind: LoraSet) -> str:
    """Return the name of one PEFT adapter."""
    return f"default_{group}_{kind}"


def lora_targets(unet: nn.Module) -> dict[Group, list[str]]:
    """List the modules of a U-Net without LoRA that get one, as full dotted names, by group."""
    groups: dict[Group, list[str]] = {"encoder": [], "decoder": [], "others": []}
    for name, _ in unet.named_parameters():
        if "bias" in name or "norm" in name or not any(target in name for target in TARGETS):
            continue
        group: Group = "others"
        if "down_blocks" in name or "conv_in" in name:
            group = "encoder"
        elif "up_blocks" in name or "conv_out" in name:
            group = "decoder"
        groups[group].append(name.removesuffix(".weight"))
    return groups


def add_lora(
    unet: UNet2DConditionModel, kind: LoraSet, rank: int, modules: Mapping[Group, Sequence[str]] | None = None
) -> None:
    """Add one set to a U-Net and activate all of its sets. B = 0, so no output changes yet. Nothing is trainable.

    Args:
        unet: a base, or one that has the other set.
        kind: the set, which it must not have.
        rank: rank of every update.
        modules: full names by group; by default those of `lora_targets`.
    """
    if modules is None:
        modules = lora_modules(unet) or lora_targets(unet)
    for group, names in modules.items():
        config = LoraConfig(r=rank, lora_alpha=ALPHA, init_lora_weights="gaussian", target_modules=list(names))
        with warnings.catch_warnings():  # a second adapter is intended: there are six in the end
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            unet.add_adapter(config, adapter_name=adapter_name(group, kind))
    unet.set_adapters([adapter_name(group, one) for one in lora_sets(unet) for group in GROUPS])
    unet.requires_grad_(False)
    # PEFT gives an adapter the precision of its base; trained weights stay in float32.
    for layer in _layers(unet):
        layer.lora_A.float()
        layer.lora_B.float()


def lora_modules(unet: nn.Module) -> dict[Group, list[str]]:
    """List the modules of a U-Net that have LoRA, by group; empty without LoRA."""
    groups: dict[Group, list[str]] = {}
    for name, module in unet.named_modules():
        if isinstance(module, LoraLayer):
            group = next(group for group in GROUPS if any(f"_{group}_" in adapter for adapter in module.lora_A))
            groups.setdefault(group, []).append(name)
    return groups


def lora_sets(unet: nn.Module) -> tuple[LoraSet, ...]:
    """List the sets of a U-Net."""
    adapters = {adapter for layer in _layers(unet) for adapter in layer.lora_A}
    return tuple(kind for kind in SETS if any(adapter.endswith(f"_{kind}") for adapter in adapters))


def lora_ranks(unet: nn.Module) -> dict[LoraSet, int]:
    """Return the rank of each set of a U-Net."""
    return {
        kind: next(layer.r[name] for layer in _layers(unet) for name in layer.r if name.endswith(f"_{kind}"))
        for kind in lora_sets(unet)
    }


def lora_state(unet: nn.Module, kinds: Iterable[LoraSet] = SETS) -> dict[str, nn.Parameter]:
    """Return the LoRA tensors of some sets, by the names of the released checkpoint."""
    ends = tuple(f"_{kind}.weight" for kind in kinds)
    return {name: p for name, p in unet.named_parameters() if ".lora_" in name and name.endswith(ends)}


@contextmanager
def active_sets(unet: nn.Module, *kinds: LoraSet) -> Iterator[None]:
    """Activate only some sets within a block; none of them for the base.

    Unlike PEFT's own switches, which unfreeze active adapters, this does not change what is trainable.
    """
    layers = _layers(unet)
    before = [layer._active_adapter for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = [name for name in layer.lora_A if name.rpartition("_")[2] in kinds]
        yield
    finally:
        for layer, adapters in zip(layers, before, strict=True):
            layer._active_adapter = adapters


def _layers(unet: nn.Module) -> list[LoraLayer]:
    return [module for module in unet.modules() if isinstance(module, LoraLayer)]
