"""LIF neurons whose surrogate derivative is read from a table, and whose trace is a byte.

Potential and spike (Eq. 2, 3) are those of ``bso_lib.neurons``: a decay of 1/2 multiplies without rounding. A sigmoid
would need exp, which every library computes a little differently; the table has its derivative at steps of 1/64,
rounded to 2^-14. The trace of OTTT is kept in whole multiples of 2^-7, at most 255 of them: a[t] = a[t-1] / 2 + s[t] is
a shift and an addition, exact for eight time steps; what a spike leaves after that, less than 2^-7, is dropped.
"""

import torch

from bso_lib.exact.passes import STEPS, like, matrix, passes_on
from bso_lib.neurons import LIF
from bso_lib.surrogate import sigmoid_derivative
from bso_lib.traced import Spikes

TRACE_BITS = 7  # a trace is a multiple of 2^-7; that of NDOT, whose ratio is real, is rounded to it and stays float32
_SIDE = 4 * STEPS  # 4 units of potential on either side of the threshold


def surrogate_table(alpha: float, device=None) -> torch.Tensor:
    """Return the surrogate derivative at (i - 256) / 64 from the threshold, i = 0 .. 511, in 2^-14ths, float32."""
    x = torch.arange(-_SIDE, _SIDE, dtype=torch.float64) / STEPS
    return (sigmoid_derivative(x, alpha) * 2**14).round_().mul_(2**-14).to(device, torch.float32)


class _Spike(torch.autograd.Function):
    """Spikes of neurons at ``potential``, differentiable through the table."""

    @staticmethod
    def forward(ctx, potential, threshold, table):
        ctx.threshold, ctx.table = threshold, table
        ctx.save_for_backward(potential)
        return torch.ge(potential, threshold, out=torch.empty_like(potential))

    @staticmethod
    def backward(ctx, grad):
        (potential,) = ctx.saved_tensors
        passes = passes_on(grad.device.type)
        product = passes.slope_times(matrix(grad), matrix(potential), ctx.threshold, ctx.table)
        return like(potential, product), None, None


class _Step(torch.autograd.Function):
    """(spikes, potential, trace) of a time step after the first; what came before is outside autograd."""

    @staticmethod
    def forward(ctx, current, before, trace, decay, threshold, table):
        found = passes_on(current.device.type).fire(
            matrix(current), matrix(before), None if trace is None else matrix(trace), decay, threshold
        )
        potential, spikes, trace = (None if rows is None else like(current, rows) for rows in found)
        ctx.threshold, ctx.table = threshold, table
        ctx.save_for_backward(potential)
        ctx.mark_non_differentiable(*(x for x in (potential, trace) if x is not None))
        return spikes, potential, trace

    @staticmethod
    def backward(ctx, grad, *_):
        return *_Spike.backward(ctx, grad), None, None, None


class ExactLIF(LIF):
    """A :class:`bso_lib.neurons.LIF` as the module says; its ``decay`` is 0.5."""

    table = None

    def table_on(self, device) -> torch.Tensor:
        """Return the table of the surrogate on ``device``."""
        if self.table is None or self.table.device != device:
            self.table = surrogate_table(self.alpha, device)
        return self.table

    def fire(self, potential):
        """Return the spikes (Eq. 3), differentiable through the table."""
        return _Spike.apply(potential, self.threshold, self.table_on(potential.device))

    def forward(self, current: torch.Tensor) -> Spikes:
        """Return the spikes and their trace, as :class:`bso_lib.neurons.LIF`."""
        if self.potential is None or not self.online or self.trace_kind.startswith("ndot"):
            return super().forward(current)
        table = self.table_on(current.device)
        spikes, self.potential, self.trace = _Step.apply(
            current, self.potential, self.trace, self.decay, self.threshold, table
        )
        return Spikes(spikes, self.trace)

    @torch.no_grad()
    def _update_trace(self, spikes, previous):
        if self.trace_kind == "ottt":  # the first of a sample
            self.trace = spikes.to(torch.uint8) << TRACE_BITS
        elif self.trace is None:
            super()._update_trace(spikes, previous)
        else:
            carried = self._ratio(spikes, previous).mul_(self.trace)
            self.trace = carried.mul_(2**TRACE_BITS).round_().mul_(2**-TRACE_BITS).add_(spikes)
