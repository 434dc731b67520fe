"""Keys and negative layers shared by all ranks. Every function is the identity in a single process."""

import torch
import torch.distributed as dist
from torch import Tensor

from framer.method.spectrum import Keys


def ranks() -> tuple[int, int]:
    """Return this process's rank and the number of ranks; (0, 1) for a single process."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gather(keys: Keys) -> Keys:
    """Gather the keys of all ranks in rank order, without gradient: B -> B * ranks. B must be equal on all ranks."""
    return Keys(_gather(keys.value), _gather(keys.inverse))


def _gather(rows: Tensor) -> Tensor:
    world = ranks()[1]
    if world == 1:
        return rows
    gathered = rows.new_empty(len(rows) * world, *rows.shape[1:])
    dist.all_gather_into_tensor(gathered, rows.contiguous())
    return gathered


def from_first_rank(indices: list[int | None], device: torch.device) -> list[int | None]:
    """Broadcast rank 0's list, so that every rank contrasts with the same layers."""
    if ranks()[1] == 1:
        return indices
    shared = torch.tensor([-1 if i is None else i for i in indices], device=device)
    dist.broadcast(shared, src=0)
    return [None if i < 0 else i for i in shared.tolist()]
