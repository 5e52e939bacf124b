"""What is measured in float32 is measured by one thread, so that the number of threads decides no digit of a figure."""

import contextlib

import torch


@contextlib.contextmanager
def one_thread():
    """Let PyTorch compute with one thread inside; also a decorator. Another processor may still round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
