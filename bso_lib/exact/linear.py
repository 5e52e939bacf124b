"""A linear layer, such as the classifier, in fixed point: 15-bit weights and gradients, 16-bit inputs, float64 sums."""

import torch

from bso_lib.exact.agreement import total
from bso_lib.exact.fixed_point import fixed
from bso_lib.exact.lif import WholeSpikes
from bso_lib.layers import BinaryLinear, LatentLinear, TracedLinear
from bso_lib.traced import Spikes

_BITS = 15
_INPUT_UNIT = 2**-16  # of spikes pooled over whole maps, and of their trace


def _whole(x):
    return (x * (1 / _INPUT_UNIT)).round().double()


class _FixedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, graph, x, presynaptic, weight, bias):
        whole, unit = fixed(weight, _BITS)
        ctx.save_for_backward(presynaptic, whole, unit)
        out = ((_whole(x) @ whole.double().t()) * (unit.double() * _INPUT_UNIT)).float()
        return out if bias is None else out + bias

    @staticmethod
    def backward(ctx, grad):
        presynaptic, weight, weight_unit = ctx.saved_tensors
        whole, unit = fixed(grad, _BITS)
        whole, unit = whole.double(), unit.double()
        grad_x = ((whole @ weight.double()) * (unit * weight_unit.double())).float()
        grad_weight = (total(whole.t() @ _whole(presynaptic)) * (unit * _INPUT_UNIT)).float()
        grad_bias = (total(whole.sum(0)) * unit).float() if ctx.needs_input_grad[4] else None
        return grad_x, None, None, grad_weight, grad_bias


class _ExactLinear:
    """What exact linear layers share. Input (N, in), rounded to multiples of 2^-16."""

    def forward(self, x):
        if isinstance(x, WholeSpikes):
            graph, values, trace = x.graph, x.whole * 2.0**-x.bits, x.trace
            trace = None if trace is None else trace * x.trace_unit
        else:
            graph, trace = (x.values, x.trace) if isinstance(x, Spikes) else (x, None)
            values = graph.detach()
        return _FixedLinear.apply(graph, values, values if trace is None else trace, self.used_weight(), self.bias)


class ExactRealLinear(_ExactLinear, TracedLinear):
    """A :class:`bso_lib.layers.TracedLinear`, exact."""


class ExactBinaryLinear(_ExactLinear, BinaryLinear):
    """A :class:`bso_lib.layers.BinaryLinear`, exact."""


class ExactLatentLinear(_ExactLinear, LatentLinear):
    """A :class:`bso_lib.layers.LatentLinear`, exact."""
