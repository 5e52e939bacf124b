"""Run a function of a test in several processes that form a process group on this machine."""

import os
import socket

import torch
import torch.multiprocessing

from bso_lib.parallel import process_group

_START = "forkserver"  # imports torch once for all processes of a test session


def _rank(rank, function, ranks, port, folder, arguments):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with process_group("cpu"):
        found = function(*arguments)
    torch.save(found, folder / f"found-{ranks}-{rank}.pt")


def together(function, ranks, folder, *arguments):
    """Call ``function(*arguments)`` in ``ranks`` processes; return what each of them returned, by rank."""
    torch.multiprocessing.get_context(_START).set_forkserver_preload(["bso_lib.experiments"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(_rank, (function, ranks, port, folder, arguments), ranks, start_method=_START)
    return [torch.load(folder / f"found-{ranks}-{rank}.pt", weights_only=False) for rank in range(ranks)]
