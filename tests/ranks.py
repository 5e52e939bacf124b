"""Run a function of a test in several processes that form a process group on this machine."""

import os
import socket

import torch
import torch.multiprocessing

from bso_lib.experiment.ranks import TIMEOUT, LostRank, process_group

_START = "forkserver"  # imports torch once for all processes of a test session


def _rank(rank, function, ranks, port, folder, arguments, timeout):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    try:
        with process_group("cpu", timeout):
            found = function(*arguments)
    except LostRank as error:
        found = error
    torch.save(found, folder / f"found-{ranks}-{rank}.pt")


def together(function, ranks, folder, *arguments, timeout=TIMEOUT):
    """Call ``function(*arguments)`` in ``ranks`` processes; return what each of them returned, by rank.

    A :class:`LostRank` that it raises is returned.
    """
    torch.multiprocessing.get_context(_START).set_forkserver_preload(["bso_lib.experiment.run", "torch._dynamo"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    everything = (function, ranks, port, folder, arguments, timeout)
    torch.multiprocessing.start_processes(_rank, everything, ranks, start_method=_START)
    return [torch.load(folder / f"found-{ranks}-{rank}.pt", weights_only=False) for rank in range(ranks)]
