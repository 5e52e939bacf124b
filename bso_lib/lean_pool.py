"""Average pooling that keeps nothing for its backward pass: a mean passes its gradient on in equal parts.

PyTorch's own average pooling keeps its input, a spike for each neuron of the layer, only to know its shape.
"""

import torch
import torch.nn.functional as F

from bso_lib.layers import SpikingPool


class _AveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, size):
        ctx.size, ctx.shape = size, x.shape[2:]
        return F.avg_pool2d(x, size)

    @staticmethod
    def backward(ctx, grad_out):
        grad = F.interpolate(grad_out / ctx.size**2, scale_factor=ctx.size, mode="nearest")
        rest = [whole - part for whole, part in zip(ctx.shape, grad.shape[2:], strict=True)]
        return F.pad(grad, (0, rest[1], 0, rest[0])) if any(rest) else grad, None


class LeanSpikingPool(SpikingPool):
    """A :class:`bso_lib.layers.SpikingPool`, to the bit, that keeps no activation."""

    def _pool(self, x):
        return x.mean((2, 3)) if self.size is None else _AveragePool.apply(x, self.size)

    def unpack(self):
        """Return the plain layer."""
        return SpikingPool(self.size)
