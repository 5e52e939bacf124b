"""Processes of one thread each on this machine, for many short runs at once."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from unittest import mock

import torch

# Numba and PyTorch read these as they are imported, so a process has to be born with them.
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


@contextmanager
def single_threads(processes: int):
    """Yield an executor (``concurrent.futures``) of ``processes`` new processes of one thread each.

    After an error in the block what has not started is dropped, and what is under way is ended: a run goes on later
    from its last checkpoint. Raises ValueError for fewer than one process.
    """
    if processes < 1:
        raise ValueError(f"processes={processes!r}: must be at least 1")
    # A process that was forked could wait for ever for a lock of PyTorch's threads.
    own = multiprocessing.get_context("spawn")
    with mock.patch.dict(os.environ, _ONE_THREAD):
        executor = ProcessPoolExecutor(processes, own, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        executor.shutdown()
