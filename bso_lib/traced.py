"""Convolution and linear map whose weight gradient uses the presynaptic trace (Eq. 6, 7).

    forward      out = conv(s, W)                   the spikes, once
    backward     dW  = conv_weight_grad(a, dout)    the trace in place of the spikes
                 ds  = conv_input_grad(W, dout)     no trace: through space only

Only the trace is kept for the backward pass, so a traced layer holds no more than a plain one and needs no second
forward pass.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Spikes(NamedTuple):
    """What one spiking layer hands to the next at one time step.

    ``values``: spikes s[t] in {0, 1} (or their average-pooled mean), (N, C, H, W) or (N, features).
    ``trace``: presynaptic trace a[t] (Eq. 7), same shape, outside autograd; None means a[t] = s[t] (no trace).
    """

    values: torch.Tensor
    trace: torch.Tensor | None = None


class _TracedConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spikes, trace, weight, stride, padding, dilation, groups):
        ctx.save_for_backward(trace, weight)
        ctx.geometry = (stride, padding, dilation, groups)
        return F.conv2d(spikes, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx, grad_out):
        trace, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        geometry = (stride, padding, dilation, False, [0, 0], groups)
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[2], False)
        # Under autocast the forward ran in grad_out's type; casts are no-ops otherwise.
        trace, used = trace.to(grad_out.dtype), weight.to(grad_out.dtype)
        grad_spikes, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad_out, trace, used, None, *geometry, wanted
        )
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight.dtype)
        return grad_spikes, None, grad_weight, None, None, None, None


class _TracedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spikes, trace, weight, bias):
        ctx.save_for_backward(trace, weight)
        return F.linear(spikes, weight, bias)

    @staticmethod
    def backward(ctx, grad_out):
        trace, weight = ctx.saved_tensors
        grad_spikes = grad_out @ weight.to(grad_out.dtype) if ctx.needs_input_grad[0] else None
        grad_weight = grad_bias = None
        if ctx.needs_input_grad[2]:
            grad_weight = (grad_out.t() @ trace.to(grad_out.dtype)).to(weight.dtype)
        if ctx.needs_input_grad[3]:
            grad_bias = grad_out.sum(0).to(weight.dtype)
        return grad_spikes, None, grad_weight, grad_bias


def traced_conv2d(x, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Convolve ``x`` (:class:`Spikes` or tensor, (N, C, H, W)) with ``weight``; no bias.

    The weight gradient is G[t] = zeta[t] a[t]^T (Eq. 6) when ``x`` carries a trace, and plain autograd's otherwise.
    """
    if not isinstance(x, Spikes):
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)
    if x.trace is None:
        return F.conv2d(x.values, weight, None, stride, padding, dilation, groups)
    return _TracedConv2d.apply(x.values, x.trace, weight, stride, padding, dilation, groups)


def traced_linear(x, weight, bias=None):
    """Map ``x`` (:class:`Spikes` or tensor, (N, in)) to (N, out); the weight gradient as in :func:`traced_conv2d`."""
    if not isinstance(x, Spikes):
        return F.linear(x, weight, bias)
    if x.trace is None:
        return F.linear(x.values, weight, bias)
    return _TracedLinear.apply(x.values, x.trace, weight, bias)
