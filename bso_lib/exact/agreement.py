"""What several ranks have to agree on before anything is rounded: totals of whole numbers, and largest magnitudes.

Without a process group each function returns what it is given.
"""

import torch
import torch.distributed as dist


def rank_and_ranks() -> tuple[int, int]:
    """Return (rank of this process, number of ranks)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def total(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of ``x``, whole numbers in float64 or int64, over all ranks; in place."""
    if rank_and_ranks()[1] > 1:
        dist.all_reduce(x)
    return x


def largest(x: torch.Tensor) -> torch.Tensor:
    """Return the largest ``x`` of all ranks, element by element; in place."""
    if rank_and_ranks()[1] > 1:
        dist.all_reduce(x, dist.ReduceOp.MAX)
    return x
