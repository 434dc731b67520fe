"""Snapshots of a run: its trained weights at some steps, for analyses."""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from framer.backbones.base import Backbone
from framer.backbones.loading import read_tensors
from framer.backbones.state_dict import load_exactly
from framer.errors import UserError
from framer.provenance.cards import CARD, read_card, verify_payload
from framer.runs.run_dir import load_adapted, load_run

SNAPSHOTS = "snapshots"


def adapter_file(step: int) -> str:
    """The file of the weights after a step."""
    return f"step-{step}.safetensors"


def heads_file(step: int) -> str:
    """The file of the heads after a step."""
    return f"heads-{step}.safetensors"


def kept(folder: Path, card: Mapping[str, Any], name: str) -> Path:
    """A file of a finished run's snapshots, verified against the run's card.

    Raises:
        UserError: the run has no file of that name, or it is missing or damaged.
    """
    hashes = card.get(SNAPSHOTS, {})
    if name not in hashes:
        raise UserError(
            f"has no {name}; list its step under analysis.snapshots and train it again",
            path=folder,
            key=SNAPSHOTS,
            code="missing",
        )
    verify_payload(folder, {"payload": {f"{SNAPSHOTS}/{name}": hashes[name]}})
    return folder / SNAPSHOTS / name


def load_moment(folder: Path, step: int | None) -> Backbone:
    """A run's model after a step, with FRAMER's heads of that step.

    Args:
        folder: the run.
        step: one of its snapshots; None for the end.

    Raises:
        UserError: the run is incomplete or damaged, or has no such snapshot.
    """
    card = read_card(folder, "run")
    try:
        stages = {name: int(stage["steps"]) for name, stage in card["job"]["stages"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            "has no stages with their steps: this run was not trained here; analyses need one that was",
            path=folder / CARD,
            key="job.stages",
            code="missing",
        ) from None
    if step is None:
        model, _ = load_run(folder)
    else:
        before = dict(zip(stages, accumulate(stages.values(), initial=0), strict=False))
        begun = [name for name in stages if before[name] < step]
        model = load_adapted(folder, begun, kept(folder, card, adapter_file(step)))
    model.add_heads("x0")  # those of the snapshot replace what they start with
    if heads := dict(model.heads.state_dict()):
        path = kept(folder, card, heads_file(sum(stages.values()) if step is None else step))
        load_exactly(heads, read_tensors(path), str(path))
    return model
