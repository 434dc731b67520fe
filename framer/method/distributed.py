"""What ranks share: keys, and which layer is the negative. All of it does nothing in a single process."""

import torch
import torch.distributed as dist
from torch import Tensor

from framer.method.spectrum import Keys


def ranks() -> tuple[int, int]:
    """This process's rank and their number; (0, 1) when there is one process."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def gather(keys: Keys) -> Keys:
    """The keys of all ranks in rank order, without gradient: B -> B * ranks. All ranks must hold equally many."""
    return Keys(_gather(keys.value), _gather(keys.inverse))


def _gather(rows: Tensor) -> Tensor:
    world = ranks()[1]
    if world == 1:
        return rows
    everyone = rows.new_empty(len(rows) * world, *rows.shape[1:])
    dist.all_gather_into_tensor(everyone, rows.contiguous())
    return everyone


def from_first_rank(indices: list[int | None], device: torch.device) -> list[int | None]:
    """Rank 0's list, so that every rank contrasts with the same layers."""
    if ranks()[1] == 1:
        return indices
    shared = torch.tensor([-1 if i is None else i for i in indices], device=device)
    dist.broadcast(shared, src=0)
    return [None if i < 0 else i for i in shared.tolist()]
