"""LIF neurons whose spikes and trace are bytes, and whose surrogate derivative is read from a table.

Potential and spike (Eq. 2, 3) are those of ``bso_lib.neurons``: a decay of 1/2 multiplies without rounding. A sigmoid
would need exp, which every library computes a little differently; the table has its derivative at steps of 1/64,
rounded to 2^-14. The trace of OTTT is kept in whole multiples of 2^-7, at most 255 of them: a[t] = a[t-1] / 2 + s[t] is
a shift and an addition, exact for eight time steps; what a spike leaves after that, less than 2^-7, is dropped.
"""

import math
from typing import NamedTuple

import torch

from bso_lib.exact.passes import STEPS, like, matrix, passes_on
from bso_lib.neurons import LIF
from bso_lib.surrogate import sigmoid_derivative

TRACE_BITS = 7  # a trace is a multiple of 2^-7; that of NDOT, whose ratio is real, is rounded to it and stays float32
_SIDE = 4 * STEPS  # 4 units of potential on either side of the threshold


class WholeSpikes(NamedTuple):
    """What exact neurons hand to the next layer at one time step, in place of :class:`bso_lib.traced.Spikes`.

    ``graph``: a tensor of the spikes' shape whose gradient is theirs, as whole numbers can have none; it takes no
    memory and every element is NaN. ``whole``: spikes, uint8, or sums of 2^bits of them that a pool made, in a type
    that holds them. ``trace``: their trace in 128ths, likewise, or NDOT's as it is, float32; None: a[t] = s[t].
    """

    graph: torch.Tensor
    whole: torch.Tensor
    trace: torch.Tensor | None = None
    bits: int = 0

    @property
    def trace_unit(self) -> float:
        """What ``trace`` is in multiples of."""
        return 2.0**-self.bits * (1.0 if self.trace.is_floating_point() else 2.0**-TRACE_BITS)


def graph_of(whole: torch.Tensor) -> torch.Tensor:
    """Return the NaNs that stand for ``whole`` in autograd."""
    return torch.full((), math.nan, device=whole.device).expand(whole.shape)


def surrogate_table(alpha: float, device=None) -> torch.Tensor:
    """Return the surrogate derivative at (i - 256) / 64 from the threshold, i = 0 .. 511, in 2^-14ths, float32."""
    x = torch.arange(-_SIDE, _SIDE, dtype=torch.float64) / STEPS
    return (sigmoid_derivative(x, alpha) * 2**14).round_().mul_(2**-14).to(device, torch.float32)


class _Spike(torch.autograd.Function):
    """(graph, spikes) of neurons at ``potential``, differentiable through the table."""

    @staticmethod
    def forward(ctx, potential, threshold, table):
        ctx.threshold, ctx.table = threshold, table
        ctx.save_for_backward(potential)
        spikes = torch.ge(potential, threshold).view(torch.uint8)
        ctx.mark_non_differentiable(spikes)
        ctx.set_materialize_grads(False)  # no zeros for what has no gradient
        return graph_of(spikes), spikes

    @staticmethod
    def backward(ctx, grad, *_):
        (potential,) = ctx.saved_tensors
        passes = passes_on(grad.device.type)
        product = passes.slope_times(matrix(grad), matrix(potential), ctx.threshold, ctx.table)
        return like(potential, product), None, None


class _Step(torch.autograd.Function):
    """(graph, spikes, potential, trace) of a time step after the first; what came before is outside autograd."""

    @staticmethod
    def forward(ctx, current, before, trace, decay, threshold, table):
        found = passes_on(current.device.type).fire(
            matrix(current), matrix(before), None if trace is None else matrix(trace), decay, threshold
        )
        potential, spikes, trace = (None if rows is None else like(current, rows) for rows in found)
        ctx.threshold, ctx.table = threshold, table
        ctx.save_for_backward(potential)
        ctx.mark_non_differentiable(*(x for x in (spikes, potential, trace) if x is not None))
        ctx.set_materialize_grads(False)
        return graph_of(spikes), spikes, potential, trace

    @staticmethod
    def backward(ctx, grad, *_):
        return *_Spike.backward(ctx, grad), None, None, None


class ExactLIF(LIF):
    """A :class:`bso_lib.neurons.LIF` as the module says; its ``decay`` is 0.5. It returns :class:`WholeSpikes`."""

    table = None

    def table_on(self, device) -> torch.Tensor:
        """Return the table of the surrogate on ``device``."""
        if self.table is None or self.table.device != device:
            self.table = surrogate_table(self.alpha, device)
        return self.table

    def forward(self, current: torch.Tensor) -> WholeSpikes:
        """Return the spikes and their trace, as :class:`bso_lib.neurons.LIF`."""
        table, previous = self.table_on(current.device), self.potential
        if previous is None or not self.online:
            potential = current if previous is None else torch.add(current, self.membrane, alpha=self.decay)
            graph, spikes = _Spike.apply(potential, self.threshold, table)
            self.potential, trace = potential.detach() if self.online else potential, None
        else:
            carried = self.trace if self.trace_kind == "ottt" else None
            graph, spikes, self.potential, trace = _Step.apply(
                current, previous, carried, self.decay, self.threshold, table
            )
        if not self.online or self.trace_kind == "none" or not torch.is_grad_enabled():
            return WholeSpikes(graph, spikes)
        if self.trace_kind == "ottt":
            self.trace = spikes << TRACE_BITS if trace is None else trace
        else:
            self.trace = self._ndot_trace(spikes.float(), previous)
        return WholeSpikes(graph, spikes, self.trace)

    @torch.no_grad()
    def _ndot_trace(self, spikes, previous):
        if self.trace is None:
            return spikes
        carried = self._ratio(spikes, previous).mul_(self.trace)
        return carried.mul_(2**TRACE_BITS).round_().mul_(2**-TRACE_BITS).add_(spikes)
