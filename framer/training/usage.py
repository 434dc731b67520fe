"""What a training took: devices, wall time, GPU-hours. Measured, so it lies beside the card and is no part of it."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from framer.provenance.cards import MEASURED
from framer.provenance.files import write_json


class Spent:
    """The time of one start of a training, added to that of the starts before it in `run.json`.

    The clock runs from here to the last `write`: steps, checkpoints and held-out losses, not the loading of the base.
    Of a start that is killed, the time up to its last checkpoint counts.

    Args:
        out: folder of the run.
        accelerator: whose devices are counted, one a rank.
        threads: CPU threads a rank, where there is no GPU.
        resumed: whether this start goes on from an earlier one; otherwise what was spent before is of another training.
    """

    def __init__(self, out: Path, accelerator: Accelerator, threads: int, *, resumed: bool):
        self.path, self.first = out / MEASURED, accelerator.is_main_process
        names = gather_object([device_name(accelerator.device, threads)])
        self.devices = dict(sorted(Counter(names).items()))
        self.gpus = len(names) if accelerator.device.type == "cuda" else 0
        self.before = _read(self.path) if resumed and self.first else []
        self.started = time.monotonic()

    def write(self) -> None:
        """Write all starts so far; for the first rank."""
        if not self.first:
            return
        seconds = round(time.monotonic() - self.started, 3)
        starts = [*self.before, {"devices": self.devices, "gpus": self.gpus, "seconds": seconds}]
        total = {
            "seconds": round(sum(start["seconds"] for start in starts), 3),
            "gpu_hours": round(sum(start["gpus"] * start["seconds"] for start in starts) / 3600, 6),
        }
        write_json(self.path, total | {"starts": starts})


def device_name(device: torch.device, threads: int) -> str:
    """What a rank computes on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{threads} CPU thread{'s' * (threads != 1)}"


def _read(path: Path) -> list[dict[str, Any]]:
    """The starts that are written there. A measurement that was lost or edited stops no training: it begins anew."""
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
        return [{"devices": one["devices"], "gpus": one["gpus"] + 0, "seconds": one["seconds"] + 0} for one in starts]
    except (OSError, ValueError, TypeError, KeyError):
        return []
