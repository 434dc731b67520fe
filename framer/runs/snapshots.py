"""Snapshots of a run: what trains, kept at some steps, for analyses."""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from framer.backbones.base import Backbone
from framer.backbones.loading import read_tensors
from framer.backbones.state_dict import load_exactly
from framer.errors import UserError
from framer.provenance.cards import read_card, verify_payload
from framer.runs.run_dir import load_adapted, load_run

SNAPSHOTS = "snapshots"


def adapter_file(step: int) -> str:
    """The file of the weights after a step."""
    return f"step-{step}.safetensors"


def heads_file(step: int) -> str:
    """The file of the heads after a step."""
    return f"heads-{step}.safetensors"


def kept(folder: Path, card: Mapping[str, Any], name: str) -> Path:
    """A file of a finished run's snapshots, checked against the run's card.

    Raises:
        UserError: the run has none of that name, or it is missing or damaged.
    """
    hashes = card.get(SNAPSHOTS, {})
    if name not in hashes:
        raise UserError(f"{folder}: kept no {name}; name its step under analysis.snapshots and train it again")
    verify_payload(folder, {"payload": {f"{SNAPSHOTS}/{name}": hashes[name]}})
    return folder / SNAPSHOTS / name


def load_moment(folder: Path, step: int | None) -> Backbone:
    """A run's model as it was after a step, with the heads that FRAMER had then.

    Args:
        folder: of the run.
        step: one of its snapshots; None for the end.

    Raises:
        UserError: the run is incomplete or damaged, or kept no such snapshot.
    """
    card = read_card(folder, "run")
    stages = {name: int(stage["steps"]) for name, stage in card["job"]["stages"].items()}
    if step is None:
        model, _ = load_run(folder)
    else:
        before = dict(zip(stages, accumulate(stages.values(), initial=0), strict=False))
        begun = [name for name in stages if before[name] < step]
        model = load_adapted(folder, begun, kept(folder, card, adapter_file(step)))
    model.add_heads()
    if heads := dict(model.heads.state_dict()):
        path = kept(folder, card, heads_file(sum(stages.values()) if step is None else step))
        load_exactly(heads, read_tensors(path), str(path))
    return model
