"""Means over maps in which the sum comes first and is one of whole numbers."""

import functools

import torch
from torch import nn

from bso_lib.exact.lif import TRACE_BITS
from bso_lib.layers import SpikingPool

_UNIT = 2**-10  # of real-valued currents; spikes and their traces are multiples of it as they are


class ExactSpikingPool(SpikingPool):
    """A :class:`bso_lib.layers.SpikingPool`: means over whole maps are sums, then one division.

    A trace in whole numbers is added up, as int16: a square of size^2 pixels makes its unit 2^-7 / size^2.
    """

    def _pool(self, x):
        whole = not x.is_floating_point()
        if self.size is None:
            mean = x.sum((2, 3)).float() / (x.shape[2] * x.shape[3])
            return mean * 2**-TRACE_BITS if whole else mean
        return self._sums(x) if whole else super()._pool(x)

    def _sums(self, x):
        n, height, width = self.size, *(side // self.size * self.size for side in x.shape[2:])
        parts = [x[:, :, i:height:n, j:width:n].to(torch.int16) for i in range(n) for j in range(n)]
        return functools.reduce(torch.Tensor.add_, parts)


class _Rounded(torch.autograd.Function):
    """x to the nearest multiple of 2^-10; the gradient passes."""

    @staticmethod
    def forward(ctx, x):
        return x.mul(1 / _UNIT).round_().mul_(_UNIT)

    @staticmethod
    def backward(ctx, grad):
        return grad


class ExactAvgPool2d(nn.AvgPool2d):
    """``nn.AvgPool2d`` over real-valued currents, rounded to multiples of 2^-10 first."""

    def forward(self, x):
        # Each output is a sum of 4 such multiples, exact below 2^14, and one multiplication by 1/4, 1/2 or 1.
        return super().forward(_Rounded.apply(x))
