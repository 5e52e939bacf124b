"""Means over maps in which the sum comes first and is one of whole numbers."""

import torch
from torch import nn

from bso_lib.exact.fixed_point import divided
from bso_lib.exact.lif import WholeSpikes, graph_of
from bso_lib.exact.passes import passes_on
from bso_lib.layers import SpikingPool
from bso_lib.traced import Spikes

_UNIT = 2**-10  # of real-valued currents; spikes and their traces are multiples of it as they are


class _MeanOfSquares(torch.autograd.Function):
    """Pass the gradient of the means over squares of size^2 pixels on to these, in equal parts."""

    @staticmethod
    def forward(ctx, graph, sums, size):
        ctx.size, ctx.shape = size, graph.shape
        return graph_of(sums)

    @staticmethod
    def backward(ctx, grad):
        return passes_on(grad.device.type).spread(grad * (1 / ctx.size**2), ctx.size, ctx.shape), None, None


class _MeanOfMaps(torch.autograd.Function):
    """Means over whole maps, float32 (N, C); ``unit``: of ``whole``."""

    @staticmethod
    def forward(ctx, graph, whole, unit):
        ctx.shape = graph.shape
        return _mean(whole, unit)

    @staticmethod
    def backward(ctx, grad):
        height, width = ctx.shape[2:]
        return divided(grad, height * width)[:, :, None, None].expand(ctx.shape), None, None


def _mean(whole, unit):
    return divided(whole.sum((2, 3)).float(), whole[0, 0].numel()) * unit


class ExactSpikingPool(SpikingPool):
    """A :class:`bso_lib.layers.SpikingPool`: of squares the sums, in whole numbers; of whole maps the means."""

    def forward(self, x: WholeSpikes) -> WholeSpikes | Spikes:
        """Return the means of ``x`` over squares, or over whole maps, (N, C)."""
        if self.size is None:
            means = _MeanOfMaps.apply(x.graph, x.whole, 2.0**-x.bits)
            return Spikes(means, None if x.trace is None else _mean(x.trace, x.trace_unit))
        bits = x.bits + 2 * (self.size.bit_length() - 1)
        sums_of_squares = passes_on(x.whole.device.type).sums_of_squares
        sums = sums_of_squares(x.whole, self.size, 2**bits)
        trace = None if x.trace is None else sums_of_squares(x.trace, self.size, 255 << bits)
        return WholeSpikes(_MeanOfSquares.apply(x.graph, sums, self.size), sums, trace, bits)


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
