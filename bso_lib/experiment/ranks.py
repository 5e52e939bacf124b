"""One run on several devices: torchrun's processes ("ranks"), each with an equal share of every batch.

All ranks hold the whole network and draw the same batches; each trains on its share. DistributedDataParallel averages
the gradients before any optimizer sees them and BatchNorm takes the statistics of the whole batch
(:mod:`bso_lib.experiment.synchronised`), so all ranks flip alike and N of them take the step that one would.
Rank 0 writes.

Without a process group, every function here does what one process needs, which is next to nothing.
"""

import contextlib
import hashlib
import os
import warnings
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves

from bso_lib.experiment.synchronised import synchronise_batch_norm_
from bso_lib.training import count_correct

TIMEOUT = timedelta(minutes=10)  # what a rank waits for another one in any exchange


class LostRank(RuntimeError):
    """Another process of the job died or no longer answers."""


class RanksDisagree(RuntimeError):
    """The ranks of a job do not hold the same network any more."""


def world() -> tuple[int, int]:
    """Return (rank of this process, number of ranks); (0, 1) outside a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def writes() -> bool:
    """Return whether this is the rank that holds locks and writes files: rank 0."""
    return world()[0] == 0


@contextlib.contextmanager
def process_group(device: str, timeout: timedelta = TIMEOUT):
    """Join the process group that torchrun announces in the environment, and leave it at the end; alone, do nothing.

    ``device``: "cuda" (NCCL, one GPU for each rank of a machine) or "cpu" (gloo). ``timeout`` bounds every exchange.
    Raises ValueError where a rank has no GPU, :class:`LostRank` when another rank is gone.
    """
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    if device == "cuda":
        local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= gpus:
            raise ValueError(f"process {local} of this machine has no GPU: use --nproc_per_node={gpus} or less")
        torch.cuda.set_device(local)
    # DistributedDataParallel imports it too, and its functions keep the group of then as a default argument: that group
    # would outlive destroy_process_group, and a thread of it that drops a tensor late abort the process at its end.
    from torch.distributed.nn import functional  # noqa: F401

    # Objects such as a checkpoint travel by gloo, tensors by the backend of their device.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=timeout)
    rank, size = world()
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            reason = str(error).splitlines()[0]
            raise LostRank(
                f"rank {rank} of {size} lost another one ({reason}); "
                "the same command goes on from the last checkpoint, with any number of processes of as many threads"
            ) from error
        raise
    dist.destroy_process_group()  # not after an error: the others may be gone, and what was raised holds the group


def check_share(batch_size: int):
    """Raise ValueError unless a batch of ``batch_size`` can be shared equally."""
    size = world()[1]
    if batch_size % size:
        raise ValueError(f"a batch of {batch_size} cannot be shared by {size} processes: the number must divide it")


def share(batch: torch.Tensor) -> torch.Tensor:
    """Return this rank's contiguous part of ``batch`` (N, ...), a view; all parts are equal if N can be so divided."""
    rank, size = world()
    return batch if size == 1 else batch.tensor_split(size)[rank]


def summed(value: torch.Tensor) -> torch.Tensor:
    """Return the sum of ``value`` over all ranks, in place."""
    if world()[1] > 1:
        dist.all_reduce(value)
    return value


def agreed(value):
    """Return rank 0's ``value`` (any picklable object) on every rank."""
    if world()[1] == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value) -> list:
    """Return every rank's ``value`` (any picklable object), by rank, on every rank."""
    if world()[1] == 1:
        return [value]
    values = [None] * world()[1]
    dist.all_gather_object(values, value)
    return values


def check_alike(state, where: str):
    """Raise :class:`RanksDisagree` unless every rank holds the same tensors in ``state`` (nested dicts and lists).

    ``where``: of the run, in words. Costs a copy to the host and an exchange of 32 bytes; nothing on one rank.
    """
    if world()[1] == 1:
        return
    digest = hashlib.sha256()
    for leaf in tree_leaves(state):
        if isinstance(leaf, torch.Tensor):
            digest.update(leaf.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    digests = gathered(digest.digest())
    if others := [str(rank) for rank, other in enumerate(digests) if other != digests[0]]:
        raise RanksDisagree(
            f"rank {', '.join(others)} of {world()[1]} holds another network than rank 0 {where}, or held one "
            "before: memory or an exchange failed, and nothing of it is stored; the same command goes on from the last "
            "checkpoint"
        )


class Parallel(DistributedDataParallel):
    """A spiking network whose gradients are averaged over the ranks.

    ``every``: by each backward (1), or by that of every so many time steps, which adds up what came before.
    """

    def __init__(self, model, every=1, **options):
        super().__init__(model, **options)
        self.every, self.t = every, 0

    def reset_state(self):
        """Forget membranes and traces and go back to t = 0."""
        self.t = 0
        self.module.reset_state()

    def forward(self, x):
        self.t += 1
        self.require_backward_grad_sync = self.t % self.every == 0  # what no_sync() switches
        return super().forward(x)


def parallel(model: torch.nn.Module, every: int = 1):
    """Return ``model`` ready to be trained by all ranks: with rank 0's weights; itself if there is only one.

    The parameters stay ``model``'s own, so optimizers, checkpoints and evaluation go on using it. ``every``: see
    :class:`Parallel`.
    """
    if world()[1] == 1:
        return model
    synchronise_batch_norm_(model)
    with warnings.catch_warnings():
        # Newer versions of torch rename broadcast_buffers; older ones do not know the new name.
        warnings.simplefilter("ignore", FutureWarning)
        # Running statistics are the same on all ranks already; views of the buckets save a copy of all gradients.
        return Parallel(model, every, broadcast_buffers=False, gradient_as_bucket_view=True)


def accuracy(model, split, time_steps: int, batch_size: int = 500, autocast=None) -> float:
    """Return what :func:`bso_lib.training.evaluate` returns; each rank sees a share, so all of them must call this."""
    batches = split.batches(batch_size * world()[1], share=share)  # a share may be empty at the end
    correct = count_correct(model, batches, time_steps, autocast).to(split.labels.device)
    return 100 * int(summed(correct)) / len(split)
