"""The three convolutions of a layer, on whole numbers, and the certificate that every sum is exact in its type.

float32 adds whole numbers below 2^24 without rounding, in any order and with or without fused multiply-add; float64
those below 2^53. A sum of products is certain to stay below if the sum of their magnitudes does.
"""

import contextlib
from typing import NamedTuple

import torch
import torch.nn.functional as F

EXACT = {torch.float32: 2**24, torch.float64: 2**53}
PLANE = 127  # magnitude of an 8-bit gradient


def _plain_sums(x):
    """Keep a GPU's library from transforms (Winograd, FFT), which add up what is not whole; a CPU's has none here."""
    return torch.backends.cudnn.flags(enabled=False) if x.is_cuda else contextlib.nullcontext()


class Geometry(NamedTuple):
    """Stride, padding, dilation and groups of a convolution."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def backward(self):
        """Return the arguments of PyTorch's backward of a convolution."""
        return self.stride, self.padding, self.dilation, False, [0, 0], self.groups


def convolve(x, w, geometry):
    """Return the convolution of whole numbers ``x`` with ``w``, in their type."""
    with _plain_sums(x):
        return F.conv2d(x, w, None, *geometry)


def input_gradient(q, x, w, geometry):
    """Return the gradient of the input of shape ``x.shape`` for whole numbers ``q`` at the output."""
    return _backward(q, x, w, geometry, (True, False, False))[0]


def weight_gradient(q, a, w, geometry, magnitudes, largest):
    """Return the gradient of ``w``, whole numbers in float64, for ``q`` (N, O, H, W) at the output, ``a`` at the input.

    ``magnitudes``: sum of |q| over the batch, in the channel where it is largest; ``largest``: an upper bound of |a|.
    Where the certificate fails, the batch is halved, and a single sample summed in float64.
    """
    if magnitudes * largest >= EXACT[q.dtype]:
        if len(q) == 1:
            return weight_gradient(q.double(), a.double(), w.double(), geometry, magnitudes, largest)
        halves = zip(q.tensor_split(2), a.tensor_split(2), strict=True)
        return sum(weight_gradient(h, b, w, geometry, in_worst_channel(h), largest) for h, b in halves)
    return _backward(q, a, w, geometry, (False, True, False))[1].double()


def _backward(q, x, w, geometry, wanted):
    with _plain_sums(q):
        return torch.ops.aten.convolution_backward(q, x, w, None, *geometry.backward(), wanted)


def in_worst_channel(q) -> float:
    """Return the sum of |q| (N, C, H, W) over all but the channels, where it is largest."""
    return float(q.abs().sum((0, 2, 3), dtype=torch.float64).max())
