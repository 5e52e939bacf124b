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

from bso_lib.exact import integer, kernels
from bso_lib.exact.agreement import largest, rank_and_ranks, total
from bso_lib.exact.fixed_point import divided, exact_sum, fixed, magnitude, significant, unit_for
from bso_lib.exact.kernels import Geometry
from bso_lib.exact.lif import TRACE_BITS, WholeSpikes
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

CUT = 40
_REAL_BITS = 15  # of real-valued weights, inputs and outputs of convolutions, and of gradients at a BatchNorm
_INPUT_UNIT = 2**-10  # of real-valued inputs, which do not depend on what else is in the batch


class Deferred(NamedTuple):
    """An exact convolution on its way to the BatchNorm that computes it."""

    conv: nn.Module
    x: WholeSpikes | torch.Tensor


class _ConvNorm(torch.autograd.Function):
    """Training: (s, a, W, gain, bias) -> y as above; statistics of the batch, over all ranks.

    ``graph``: what the gradient of the input goes to; ``a_unit``: of ``presynaptic``.
    """

    @staticmethod
    def forward(ctx, graph, x, presynaptic, a_unit, weight, gain, bias, norm, conv, key, ticket):
        if weight.numel() == 0:
            weight = conv.used_weight()
        z, unit = conv.sums(x, weight)
        passes = passes_on(z.device.type)
        if conv.of_whole:  # two bytes for each number are kept, in place of four
            bits = conv.output_bits
            whole, sums = passes.short_moments(matrix(z))
        else:
            whole, unit = fixed(z * unit, _REAL_BITS)
            bits, unit, whole = _REAL_BITS, unit.double(), matrix(whole)
            sums = passes.moments(whole)
        count = len(whole) * rank_and_ranks()[1]
        mean, var = norm.statistics(total(sums), count, unit)
        scale, shift = norm.scale_and_shift(mean, var, 24 - bits, gain, bias)
        y = like(z, passes.scale_and_shift(whole, scale * unit, shift))
        ctx.save_for_backward(presynaptic, None if conv.packed else weight, whole, mean, var, scale)
        ctx.conv, ctx.norm, ctx.key, ctx.ticket, ctx.count, ctx.unit = conv, norm, key, ticket, count, unit
        ctx.a_unit = a_unit
        return y

    @staticmethod
    def backward(ctx, grad):
        presynaptic, weight, z, mean, var, scale = ctx.saved_tensors  # z in whole numbers
        conv, norm, passes = ctx.conv, ctx.norm, passes_on(grad.device.type)
        if conv.packed:
            conv.check(ctx.ticket)
            weight = conv.used_weight()
        rows = matrix(grad)
        largest_grad = largest(magnitude(rows))
        grad_unit = unit_for(largest_grad, _REAL_BITS)
        sums, largest_whole = passes.gradient_sums(rows, z, grad_unit)
        largest_whole = largest(largest_whole)
        sum_d, sum_dz, sum_abs = total(sums)
        inverse = 1 / (var + norm.eps).sqrt()
        along = (sum_dz * ctx.unit - mean * sum_d) * inverse  # sum of d zhat, in units of grad_unit
        slope = divided(scale.double() * inverse * along, ctx.count)
        gain = scale.double()
        offset = slope * mean - divided(gain * sum_d, ctx.count)
        size = gain.abs()
        top = torch.minimum(
            (size * largest_whole).amax(),
            divided(CUT * exact_sum(size * sum_abs), ctx.count * len(size)),
        )
        plane_unit = unit_for(top, 7).double()  # in units of grad_unit
        coefficients = (torch.stack((gain, -slope * ctx.unit, offset)) / plane_unit).float()
        q, magnitudes = passes.round_to_plane(rows, grad_unit, z, coefficients, ctx.key)
        # A gradient that is not finite has no whole numbers: its unit says so, and the optimizers refuse it.
        grad_unit = grad_unit.double() + 0 * largest_grad.double()
        unit, q = plane_unit * grad_unit, like(grad, q)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = conv.input_gradient(q, presynaptic.shape, weight, unit)
        if ctx.needs_input_grad[4] or ctx.ticket is not None:
            found = total(conv.weight_gradient(q, presynaptic, ctx.a_unit, weight, magnitudes, ctx.key.t))
            grad_weight = found.mul_(unit * ctx.a_unit).float()
            if conv.packed:
                conv.finish(weight, grad_weight, ctx.key.t)
                grad_weight = None
        return (
            grad_x, None, None, None, grad_weight, (along * grad_unit).float(), (sum_d * grad_unit).float(),
            None, None, None, None,
        )  # fmt: skip


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
    def of_whole(self) -> bool:
        """Whether spikes meet weights of +-1, so that whole numbers come out as they are."""
        return not self.real_weight and self.input_bits is not None

    def sums(self, x, weight):
        """Return (z, unit): the convolution of ``x``, whole spikes or real numbers, in whole multiples of ``unit``."""
        if self.of_whole:
            return integer.convolve(x, weight, self.geometry), 2.0**-self.input_bits
        x, x_unit = self._whole(x)
        w, w_unit = self._fixed(weight)
        return kernels.rounded_convolve(x, w, self.geometry), x_unit * w_unit

    def input_gradient(self, q, shape, weight, unit):
        """Return the gradient of the input, float32, for ``q``, int8, in multiples of ``unit``."""
        if self.of_whole:
            return integer.input_gradient(q, shape, weight, self.geometry, unit)
        w, w_unit = self._fixed(weight)
        return kernels.input_gradient(q.double(), shape, w.double() * (unit * w_unit), self.geometry).float()

    def weight_gradient(self, q, a, a_unit, weight, magnitudes, t):
        """Return the gradient of the weight at time step ``t``, float64, in multiples of ``a_unit`` and the one of q.

        ``q``: int8. ``a``: the presynaptic trace in multiples of ``a_unit``, or real-valued input as it is.
        ``magnitudes``: the sums of |q| in each channel.
        """
        if self.input_bits is None:
            a, _ = self._whole(a)
            return kernels.wide_weight_gradient(q.float(), a, weight, self.geometry, float(magnitudes.max()))
        bound, geometry = self.largest_trace(t), self.geometry
        magnitudes = kernels.most(magnitudes, q, bound)
        if not self.of_whole:
            return kernels.weight_gradient(q.double(), a.double(), weight.double(), geometry, magnitudes, bound)
        in_128ths = a_unit < 2.0**-self.input_bits
        shift = TRACE_BITS - min(t, TRACE_BITS) if in_128ths else 0
        return integer.weight_gradient(q, a, weight, geometry, magnitudes, bound, shift)

    def _whole(self, x):
        if self.input_bits is None:
            return (x * (1 / _INPUT_UNIT)).round_(), _INPUT_UNIT
        return x.float(), 2.0**-self.input_bits

    def _fixed(self, weight):
        return fixed(weight, _REAL_BITS) if self.real_weight else (weight, 1.0)

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
        spikes = isinstance(x, WholeSpikes)
        whole = x.whole if spikes else x
        self.running = self._of_this_step()
        if not self.training:
            return self._evaluate(conv, whole)
        if not isinstance(self, TimeStepBatchNorm2d):
            self.num_batches_tracked.add_(1)
        presynaptic, a_unit = whole.detach(), 2.0**-x.bits if spikes else _INPUT_UNIT
        if spikes and x.trace is not None:
            presynaptic, a_unit = x.trace, x.trace_unit
        ticket = anchor = None
        weight = None if conv.packed else conv.used_weight()
        if conv.packed:
            ticket, anchor = conv.begin(whole.device)
            weight = torch.empty(0, device=whole.device) if anchor is None else anchor
        key = Key(self.noise.seed, self.noise.batch, self.running[2], self.number)
        graph = x.graph if spikes else x
        return _ConvNorm.apply(
            graph, whole.detach(), presynaptic, a_unit, weight, self.weight, self.bias, self, conv, key, ticket
        )

    def statistics(self, sums, count, unit):
        """Return mean and variance, float64 (C,), from sums over ``count`` whole numbers; update the running ones."""
        mean, square = divided(sums, count)
        mean, var = mean * unit, (square - mean.square()) * unit**2
        running_mean, running_var, _ = self.running
        for running, new in ((running_mean, mean), (running_var, var * (count / max(count - 1, 1)))):
            running.mul_(1 - self.momentum).add_(new.float() * self.momentum)
        return mean, var

    def scale_and_shift(self, mean, var, bits, gain, bias):
        """Return A of ``bits`` significant digits and B, float32 (C,)."""
        scale = significant((gain.double() / (var + self.eps).sqrt()).float(), bits)
        return scale, (bias.double() - mean * scale.double()).float()

    @torch.no_grad()
    def _evaluate(self, conv, x):
        z, unit = conv.sums(x, conv.used_weight())
        bits = conv.output_bits if conv.of_whole else _REAL_BITS
        mean, var, _ = self.running
        scale, shift = self.scale_and_shift(mean.double(), var.double(), 24 - bits, self.weight, self.bias)
        rows = matrix(z).contiguous()
        return like(z, passes_on(z.device.type).scale_and_shift(rows, scale * unit, shift, out=rows))


class ExactBatchNorm2d(_ExactNorm, nn.BatchNorm2d):
    """``nn.BatchNorm2d``, exact."""


class ExactTimeStepBatchNorm2d(_ExactNorm, TimeStepBatchNorm2d):
    """:class:`bso_lib.layers.TimeStepBatchNorm2d`, exact."""
