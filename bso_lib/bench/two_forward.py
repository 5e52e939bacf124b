"""The two-forward trace scheme: what the published code and other libraries do to train online with a trace (Eq. 6, 7).

A spiking layer hands on spikes and trace joined to one batch of twice the size. Pooling works on both. A convolution
runs twice: on the spikes for the output, without a graph, and on the trace for the gradient; the first result then
takes the place of the second in the graph. ``bso_lib.traced`` needs one convolution for the same.

This is here to be measured against, with the library's optimizer. ``lean=True`` borrows its surrogate as well, so that
only the scheme differs; otherwise the spike is written as one writes it down, operation by operation.
"""

import torch
import torch.nn.functional as F
from torch import nn

from bso_lib.layers import TimeStepBatchNorm2d, random_grid_
from bso_lib.models import VGG11, SpikingNet
from bso_lib.optim import TBSO
from bso_lib.surrogate import sigmoid_derivative, spike


class _Replace(torch.autograd.Function):
    """The values of the second argument with the graph of the first; the gradient goes to both."""

    @staticmethod
    def forward(ctx, graph, values):
        return values.view_as(values)

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


class _TwoForward:
    """Calls ``_map`` twice on the halves of a joined batch."""

    def forward(self, x):
        spikes, trace = x.chunk(2)
        with torch.no_grad():
            out = self._map(spikes)
        return _Replace.apply(self._map(_Replace.apply(spikes, trace.detach())), out)


class TwoForwardConv2d(_TwoForward, nn.Conv2d):
    """A 3x3 conv with weights in {-1, +1} on joined spikes and trace."""

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False)

    def reset_parameters(self):
        random_grid_(self.weight)

    def _map(self, x):
        return F.conv2d(x, self.weight, None, padding=1)


class TwoForwardLinear(_TwoForward, nn.Linear):
    """A real-valued linear layer on joined spikes and trace."""

    def _map(self, x):
        return F.linear(x, self.weight, self.bias)


class _WrittenSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * sigmoid_derivative(x)


class JoiningLIF(nn.Module):
    """A :class:`bso_lib.neurons.LIF` with the OTTT trace that returns spikes and trace joined along the batch."""

    def __init__(self, lean=False, decay=0.5):
        super().__init__()
        self.lean, self.decay = lean, decay
        self.reset_state()

    def reset_state(self):
        """Forget membrane and trace."""
        self.membrane = self.trace = None

    def forward(self, current):
        potential = current if self.membrane is None else self.decay * self.membrane + current
        spikes = spike(potential, 1.0) if self.lean else _WrittenSpike.apply(potential - 1.0)
        with torch.no_grad():
            self.membrane = potential - spikes
            self.trace = spikes if self.trace is None else self.decay * self.trace + spikes
        return torch.cat([spikes, self.trace])


def two_forward_training(num_classes, in_channels, width, time_steps, lean=False):
    """Return (model, optimizers) for ``bso_lib.training.train_batch``.

    ``bso_lib.models.vgg11`` with binary weights, OTTT trace and statistics per step, by T-BSO, in this scheme.
    """
    layers, previous = [], in_channels
    for item in VGG11:
        if item == "pool":
            layers.append(nn.AvgPool2d(2))
            continue
        channels = int(item * width)
        first = not layers
        conv = (
            nn.Conv2d(previous, channels, 3, padding=1, bias=False) if first else TwoForwardConv2d(previous, channels)
        )
        layers += [conv, TimeStepBatchNorm2d(channels, time_steps), JoiningLIF(lean)]
        previous = channels
    model = SpikingNet(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), TwoForwardLinear(previous, num_classes))
    binary = [m.weight for m in model if isinstance(m, TwoForwardConv2d)]
    real = [p for p in model.parameters() if not any(p is weight for weight in binary)]
    return model, [torch.optim.SGD(real, lr=0.1), TBSO(binary, time_steps)]
