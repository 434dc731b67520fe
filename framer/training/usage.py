"""Resources of a training: devices, wall time, GPU-hours, GPU memory of the first rank.

Measured, so they are kept beside the card, not in it.
"""

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
        accelerator: its devices are counted, one per rank.
        threads: CPU threads per rank, where there is no GPU.
        resumed: whether this start resumes an earlier one; otherwise earlier times belong to another training.
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
        start = {"devices": self.devices, "gpus": self.gpus, "seconds": seconds}
        if self.gpus:
            start["gpu_bytes"] = torch.cuda.max_memory_allocated()
        starts = [*self.before, start]
        total = {
            "seconds": round(sum(start["seconds"] for start in starts), 3),
            "gpu_hours": round(sum(start["gpus"] * start["seconds"] for start in starts) / 3600, 6),
        }
        write_json(self.path, total | {"starts": starts})


def device_name(device: torch.device, threads: int) -> str:
    """The device of a rank, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{threads} CPU thread{'s' * (threads != 1)}"


def _read(path: Path) -> list[dict[str, Any]]:
    """The recorded starts. A lost or edited record stops no training: it begins with an empty one."""
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
        return [
            one | {"devices": one["devices"], "gpus": one["gpus"] + 0, "seconds": one["seconds"] + 0} for one in starts
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []
