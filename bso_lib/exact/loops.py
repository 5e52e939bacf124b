"""What loops that numba compiles for this CPU share: their threads, and matrices as arrays with long rows."""

import numba
import numpy as np
import torch

_WIDE = 256  # numbers of the inner loops: rows of few channels are taken together
F32 = np.float32
_MOST_THREADS = numba.config.NUMBA_NUM_THREADS  # as many as cores: numba knows no more
ZERO = F32(0)
parallel = numba.njit(parallel=True, cache=True, error_model="numpy")
serial = numba.njit(cache=True, error_model="numpy")
_asked = torch.get_num_threads()
numba.set_num_threads(1)  # starts the threads, and tells OpenMP, and so PyTorch, to use one on each core
torch.set_num_threads(_asked)


@serial
def share(x, part, parts):
    """Return the rows of ``x`` that are one of ``parts`` shares."""
    return x[part * len(x) // parts : (part + 1) * len(x) // parts]


def as_arrays(*matrices):
    """Return (threads, rows that are taken together, the matrices (R, C) as arrays (R / k, k C))."""
    rows, columns = matrices[0].shape
    k = 1
    while k * columns < _WIDE and rows % (2 * k) == 0:
        k *= 2
    return threads_of_torch(), k, [m.contiguous().view(rows // k, k * columns).numpy() for m in matrices]


def threads_of_torch():
    """Return how many threads share the work: what PyTorch has, as numba tells OpenMP so for PyTorch too."""
    threads = min(torch.get_num_threads(), _MOST_THREADS)
    numba.set_num_threads(threads)
    return threads


def of_channels(partial, k):
    """Return the exact sums over threads and over the rows that were taken together: (..., C) float64."""
    total = torch.from_numpy(partial.sum(0))
    return total.view(*total.shape[:-1], k, -1).sum(-2)
