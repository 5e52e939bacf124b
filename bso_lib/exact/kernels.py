"""The three convolutions of a layer, on whole numbers, and the certificate that every sum is exact in its type.

float32 adds whole numbers below 2^24 without rounding, in any order and with or without fused multiply-add; float64
those below 2^53. A sum of products is certain to stay below if the sum of their magnitudes does.
"""

import contextlib
from typing import NamedTuple

import torch
import torch.nn.functional as F

from bso_lib.exact.fixed_point import magnitude

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


def rounded_convolve(x, w, geometry):
    """Return the convolution of whole numbers in float32, ``w`` of at most 2^15, rounded once to float32.

    With w = 2^8 high + low the sums of both are exact in float32, if the certificate holds, and the sum of the two is
    the one rounding; else float64 adds up. Raises ArithmeticError where that would not be exact either.
    """
    high = (w * 2**-8).round_()
    low = w - high * 2**8
    of_outputs = (v.sum((1, 2, 3)).max() for v in (torch.maximum(high.abs(), low.abs()), w.abs()))
    largest, of_planes, of_weight = torch.stack((magnitude(x), *of_outputs)).tolist()  # a GPU is asked once
    if largest * of_planes < EXACT[torch.float32]:
        return convolve(x, low, geometry).add_(convolve(x, high, geometry), alpha=2**8)
    if not largest * of_weight < EXACT[torch.float64]:
        raise ArithmeticError(f"the input of a convolution is not finite, or too large: {largest:g}")
    return convolve(x.double(), w.double(), geometry).float()


def input_gradient(q, shape, w, geometry):
    """Return the gradient of the input, of ``shape``, for whole numbers ``q`` at the output."""
    return _backward(q, q.new_empty(1).expand(shape), w, geometry, (True, False, False))[0]


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


def wide_weight_gradient(q, a, w, geometry, magnitudes):
    """Return :func:`weight_gradient` for ``a`` of any size, in two planes of it: a = 2^6 high + low."""
    if geometry.groups > 1:
        return weight_gradient(q.double(), a.double(), w.double(), geometry, magnitudes, float(magnitude(a)))
    high = (a * 2**-6).round_()
    planes, channels = torch.cat((high, a - high * 2**6), 1), a.shape[1]
    of_planes = w.new_empty(1).expand(len(w), 2 * channels, *w.shape[2:])
    found = weight_gradient(q, planes, of_planes, geometry, magnitudes, float(magnitude(planes)))
    return found[:, :channels] * 2**6 + found[:, channels:]


def _backward(q, x, w, geometry, wanted):
    with _plain_sums(q):
        return torch.ops.aten.convolution_backward(q, x, w, None, *geometry.backward(), wanted)


def most(magnitudes, q, largest) -> float:
    """Return the largest of ``magnitudes``, the sums of |q| (N, C, H, W) in each channel, or a bound of them.

    The bound, of 8-bit numbers all of the largest magnitude, is enough where the certificate holds even for it: then a
    GPU need not be waited for. ``largest``: as above.
    """
    bound = PLANE * q[:, 0].numel()
    return bound if bound * largest < EXACT[torch.float32] else float(magnitudes.max())


def in_worst_channel(q) -> float:
    """Return the sum of |q| (N, C, H, W) over all but the channels, where it is largest."""
    return float(q.abs().sum((0, 2, 3), dtype=torch.float64).max())
