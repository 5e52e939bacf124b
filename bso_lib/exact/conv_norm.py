r"""A convolution and the BatchNorm that follows it, forward and backward, by sums of whole numbers alone.

    z = W * s                     whole multiples of a unit: spikes and +-1 weights, or both in fixed point
    y = A z + B                   A = gain / sqrt(var + eps), cut to so many digits that A z is exact; B = bias - A mean

backward, with d the gradient of y in 16 bits:

    dz = A (d - mean(d) - zhat mean(d zhat))         mean and variance from exact sums, as in the forward pass
    q  = dz in units of a power of two, rounded at random to whole numbers of at most 127
    ds = W^T q,    dW = q a^T                        sums of whole numbers again (Eq. 6; a: the presynaptic trace)

The power of two is that of the largest |dz|, or of CUT times the mean |dz| if that is less: few gradients are so large,
and all others would be rounded more coarsely for them. Rounding at random is right on average, rounding to the nearest
would lose what is small.
"""

from typing import NamedTuple

import torch
from torch import nn

from bso_lib.exact import integer
from bso_lib.exact.agreement import largest, rank_and_ranks, total
from bso_lib.exact.fixed_point import exact_sum, fixed, magnitude, significant, unit_for
from bso_lib.exact.kernels import EXACT, Geometry, convolve
from bso_lib.exact.lif import TRACE_BITS
from bso_lib.exact.noise import Key
from bso_lib.exact.passes import like, matrix, passes_on
from bso_lib.fast.packed_layers import PackedConv2d
from bso_lib.layers import (
    BinaryConv2d,
    LatentConv2d,
    TimeStepBatchNorm2d,
    TracedConv2d,
    UnclippedLatentConv2d,
)
from bso_lib.traced import Spikes

CUT = 40
_REAL_BITS = 15  # of real-valued weights, inputs and outputs of convolutions, and of gradients at a BatchNorm
_INPUT_UNIT = 2**-10  # of real-valued inputs, which do not depend on what else is in the batch


class Deferred(NamedTuple):
    """An exact convolution on its way to the BatchNorm that computes it."""

    conv: nn.Module
    x: Spikes | torch.Tensor


class _Operands:
    """What a convolution multiplies: ``x``, ``w`` and the trace ``a`` in whole multiples of their units.

    For spikes and +-1 weights that is what they are, in float32 (spikes need not be whole: the unit is a power of two).
    """

    def __init__(self, conv, x, weight, presynaptic):
        self.real_weight, self.real_input = conv.real_weight, conv.input_bits is None
        self.input_bits = conv.input_bits
        wide = torch.float64 if self.real_weight or self.real_input else torch.float32
        self.w, self.w_unit = (weight, 1.0) if not self.real_weight else fixed(weight, _REAL_BITS)
        if self.real_input:
            x = presynaptic = (x * (1 / _INPUT_UNIT)).round()
        self.x_unit = _INPUT_UNIT if self.real_input else 1.0
        # A trace in whole numbers is one in multiples of 2^-7, or less by the factor of the pools behind its neurons.
        self.a_unit = self.x_unit if presynaptic.is_floating_point() else 2.0 ** -(TRACE_BITS + conv.input_bits)
        self.w, self.a = self.w.to(wide), presynaptic.to(wide)
        self.x = self.a if x is presynaptic else x.to(wide)
        self.exact = wide == torch.float32

    def convolve(self, geometry):
        if self.exact:
            return integer.convolve(self.x, self.w, geometry, self.input_bits)
        z = convolve(self.x, self.w, geometry)
        if self.real_input:  # a sum beyond what float64 holds exactly would have to come from diverged inputs
            largest_input = magnitude(self.x)
            if not bool(largest_input * magnitude(self.w) * self.w[0].numel() < EXACT[torch.float64]):
                raise ArithmeticError(f"the input of a convolution reaches {float(largest_input) * _INPUT_UNIT:g}")
        return z * (self.x_unit * self.w_unit)


class _ConvNorm(torch.autograd.Function):
    """Training: (s, a, W, gain, bias) -> y as above; statistics of the batch, over all ranks."""

    @staticmethod
    def forward(ctx, x, presynaptic, weight, gain, bias, norm, conv, key, ticket):
        if weight.numel() == 0:
            weight = conv.used_weight()
        geometry, passes = conv.geometry, passes_on(x.device.type)
        operands = _Operands(conv, x, weight, presynaptic)
        z = operands.convolve(geometry)
        if operands.exact:  # two bytes for each number are kept, in place of four
            bits, unit = conv.output_bits, 2.0**-conv.input_bits
            whole, sums = passes.whole_moments(matrix(z), unit)
        else:
            whole, unit = fixed(z.float(), _REAL_BITS)
            bits, unit, whole = _REAL_BITS, float(unit), matrix(whole)
            sums = passes.moments(whole)
        count = len(whole) * rank_and_ranks()[1]
        mean, var = norm.statistics(total(sums), count, unit)
        scale, shift = norm.scale_and_shift(mean, var, 24 - bits, gain, bias)
        y = like(z, passes.scale_and_shift(whole, scale * unit, shift))
        ctx.save_for_backward(presynaptic, None if conv.packed else weight, whole, mean, var, scale)
        ctx.conv, ctx.norm, ctx.key, ctx.ticket, ctx.count, ctx.unit = conv, norm, key, ticket, count, unit
        return y

    @staticmethod
    def backward(ctx, grad):
        presynaptic, weight, z, mean, var, scale = ctx.saved_tensors  # z in whole numbers
        conv, norm, passes = ctx.conv, ctx.norm, passes_on(grad.device.type)
        if conv.packed:
            conv.check(ctx.ticket)
            weight = conv.used_weight()
        rows = matrix(grad)
        grad_unit = unit_for(largest(magnitude(rows)), _REAL_BITS)
        whole, sums, largest_whole = passes.gradient_sums(rows, z, grad_unit)
        largest_whole = largest(largest_whole)
        sum_d, sum_dz, sum_abs = total(sums)
        inverse = 1 / (var + norm.eps).sqrt()
        along = (sum_dz * ctx.unit - mean * sum_d) * inverse  # sum of d zhat, in units of grad_unit
        slope = scale.double() * inverse * along / ctx.count
        gain = scale.double()
        offset = slope * mean - gain * sum_d / ctx.count
        size = gain.abs()
        top = torch.minimum(
            (size * largest_whole).amax(),
            CUT * exact_sum(size * sum_abs) / (ctx.count * len(size)),
        )
        plane_unit = unit_for(top, 7).double()  # in units of grad_unit
        coefficients = (torch.stack((gain, -slope * ctx.unit, offset)) / plane_unit).float()
        q, magnitudes = passes.round_to_plane(whole, z, coefficients, ctx.key)
        unit = plane_unit * grad_unit.double()
        q, magnitudes = like(grad, q), float(magnitudes.max())
        grad_x, grad_weight = _ConvNorm._gradients(ctx, q, unit, weight, presynaptic, magnitudes)
        grad_unit = grad_unit.double()
        return (
            grad_x, None, grad_weight, (along * grad_unit).float(), (sum_d * grad_unit).float(), None, None, None, None,
        )  # fmt: skip

    @staticmethod
    def _gradients(ctx, q, unit, weight, presynaptic, magnitudes):
        conv, geometry = ctx.conv, ctx.conv.geometry
        operands = _Operands(conv, presynaptic, weight, presynaptic)  # of x only the shape matters
        q = q.to(operands.x.dtype)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            unit_x = unit * operands.w_unit
            grad_x = integer.input_gradient(q, operands.x, operands.w, geometry, unit_x).float()
        if ctx.needs_input_grad[2] or ctx.ticket is not None:
            bound = magnitude(operands.a) if operands.real_input else conv.largest_trace(ctx.key.t)
            step = 2.0 ** (TRACE_BITS - min(ctx.key.t, TRACE_BITS)) if operands.a_unit < operands.x_unit else 1.0
            found = integer.weight_gradient(q, operands.a, operands.w, geometry, magnitudes, float(bound), step)
            found = total(found)
            grad_weight = (found * (unit * operands.a_unit)).float()
            if conv.packed:
                conv.finish(weight, grad_weight, ctx.key.t)
                grad_weight = None
        return grad_x, grad_weight


class _ExactConv:
    """What exact convolutions share: they leave their work to the BatchNorm behind them.

    ``input_bits``: spikes come in multiples of 2^-input_bits; None for real-valued input. ``rounds_trace``: whether the
    presynaptic trace is NDOT's.
    """

    real_weight, packed = False, False
    input_bits, rounds_trace = None, False

    def forward(self, x):
        return Deferred(self, x)

    @property
    def geometry(self) -> Geometry:
        """Stride, padding, dilation and groups."""
        return Geometry(self.stride, self.padding, self.dilation, self.groups)

    @property
    def output_bits(self) -> int:
        """How many bits the whole numbers that come out take at most, without sign."""
        shape = self.shape if self.packed else self.weight.shape
        return (shape[1:].numel() << self.input_bits).bit_length()

    def largest_trace(self, t: int) -> float:
        """Return the largest presynaptic trace at time step ``t``, in the unit of which it is a whole multiple."""
        if self.rounds_trace:
            return 2.0 ** (TRACE_BITS + 1 + self.input_bits)
        return (2.0 ** (min(t, TRACE_BITS) + 1) - 1) * 2**self.input_bits


class ExactBinaryConv2d(_ExactConv, BinaryConv2d):
    """A :class:`bso_lib.layers.BinaryConv2d`, exact."""


class ExactLatentConv2d(_ExactConv, LatentConv2d):
    """A :class:`bso_lib.layers.LatentConv2d`, exact: its sign is what convolves."""


class ExactUnclippedLatentConv2d(_ExactConv, UnclippedLatentConv2d):
    """A :class:`bso_lib.layers.UnclippedLatentConv2d`, exact."""


class ExactRealConv2d(_ExactConv, TracedConv2d):
    """A :class:`bso_lib.layers.TracedConv2d`: its weight in fixed point, sums in float64."""

    real_weight = True


class ExactPackedConv2d(_ExactConv, PackedConv2d):
    """A :class:`bso_lib.fast.packed_layers.PackedConv2d`, exact."""

    packed = True


class _ExactNorm:
    """BatchNorm by exact sums, which also computes the convolution before it.

    ``noise``: the :class:`bso_lib.exact.convert.Noise` of the network; ``number``: of this layer in it.
    """

    noise, number = None, 0

    def _of_this_step(self):
        """Return (running mean, running var, time step), and go on to the next time step."""
        t, self.calls = self.calls, self.calls + 1
        if isinstance(self, TimeStepBatchNorm2d):
            return *self.next_statistics(), t
        return self.running_mean, self.running_var, t

    def reset_state(self):
        """Start again at t = 0."""
        self.calls = 0
        if isinstance(self, TimeStepBatchNorm2d):
            super().reset_state()

    def forward(self, deferred: Deferred) -> torch.Tensor:
        """Return A z + B of the convolution's z, (N, C, H, W)."""
        conv, x = deferred
        values, trace = (x.values, x.trace) if isinstance(x, Spikes) else (x, None)
        self.running = self._of_this_step()
        if not self.training:
            return self._evaluate(conv, values)
        if not isinstance(self, TimeStepBatchNorm2d):
            self.num_batches_tracked.add_(1)
        presynaptic = values.detach() if trace is None else trace
        ticket = anchor = None
        weight = None if conv.packed else conv.used_weight()
        if conv.packed:
            ticket, anchor = conv.begin(values.device)
            weight = torch.empty(0, device=values.device) if anchor is None else anchor
        key = Key(self.noise.seed, self.noise.batch, self.running[2], self.number)
        return _ConvNorm.apply(values, presynaptic, weight, self.weight, self.bias, self, conv, key, ticket)

    def statistics(self, sums, count, unit):
        """Return mean and variance, float64 (C,), from sums over ``count`` whole numbers; update the running ones."""
        first, second = sums
        mean, var = first / count, second / count - (first / count).square()
        mean, var = mean * unit, var * unit**2
        running_mean, running_var, _ = self.running
        for running, new in ((running_mean, mean), (running_var, var * (count / max(count - 1, 1)))):
            running.mul_(1 - self.momentum).add_(new.float() * self.momentum)
        return mean, var

    def scale_and_shift(self, mean, var, bits, gain, bias):
        """Return A of ``bits`` significant digits and B, float32 (C,)."""
        scale = significant((gain.double() / (var + self.eps).sqrt()).float(), bits)
        return scale, (bias.double() - mean * scale.double()).float()

    @torch.no_grad()
    def _evaluate(self, conv, values):
        weight = conv.used_weight()
        operands = _Operands(conv, values, weight, values)
        z = operands.convolve(conv.geometry)
        bits = conv.output_bits if operands.exact else _REAL_BITS
        mean, var, _ = self.running
        scale, shift = self.scale_and_shift(mean.double(), var.double(), 24 - bits, self.weight, self.bias)
        passes = passes_on(z.device.type)
        return like(z, passes.scale_and_shift(matrix(z), scale, shift)).float()


class ExactBatchNorm2d(_ExactNorm, nn.BatchNorm2d):
    """``nn.BatchNorm2d``, exact."""


class ExactTimeStepBatchNorm2d(_ExactNorm, TimeStepBatchNorm2d):
    """:class:`bso_lib.layers.TimeStepBatchNorm2d`, exact."""
