"""What is done to every number between two convolutions: BatchNorm, neurons, and the rounding of gradients.

Each function takes matrices (R, C) whose rows are samples and pixels and whose columns are channels. These are the
plain ones, in PyTorch, for any device; :mod:`bso_lib.exact.compiled` has the same for a CPU, to the bit and several
times as fast.
"""

import contextlib
import functools
import sys

import torch
import torch.nn.functional as F

from bso_lib.exact.kernels import PLANE
from bso_lib.exact.noise import rows_and_columns

STEPS = 64  # of the surrogate's table, for each unit of potential


@functools.cache
def passes_on(device_type: str):
    """Return the module whose passes are fastest on "cpu" or "cuda": the compiled ones where numba can be imported."""
    if device_type == "cpu":
        with contextlib.suppress(ImportError):
            from bso_lib.exact import compiled

            return compiled
    return sys.modules[__name__]


def matrix(x):
    """Return ``x`` (N, C, H, W) as (N H W, C), a view if its channels lie last; (N, C) as it is."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]) if x.dim() == 4 else x


def like(x, rows):
    """Undo :func:`matrix`: return ``rows`` as a view of the shape of ``x``, channels last."""
    if x.dim() != 4:
        return rows
    n, _, height, width = x.shape
    return rows.view(n, height, width, -1).permute(0, 3, 1, 2)


def moments(z):
    """Return the sums over the rows of ``z`` and of its squares, (2, C) float64."""
    z = z.double()
    return torch.stack((z.sum(0), (z * z).sum(0)))


def short_moments(z):
    """Return (short, sums): ``z``, whole numbers below 2^15, as int16, and :func:`moments` of these."""
    short = z.to(torch.int16)
    return short, moments(short)


def scale_and_shift(z, scale, shift, out=None):
    """Return z * scale + shift, float32; ``scale``, ``shift`` (C,). ``out``: where to write it, such as ``z``."""
    return torch.mul(z, scale, out=out).add_(shift)


def fire(current, before, trace, decay, threshold):
    """Return (potential, spikes, trace) after a time step (Eq. 2, 3, 7), from the potential and the trace before it.

    ``decay`` is a power of two. ``spikes``: uint8. ``trace``: uint8, in 128ths, halved by each step; None where there
    is none.
    """
    left = before - threshold * (before >= threshold)
    potential = current + decay * left
    spikes = torch.ge(potential, threshold).view(torch.uint8)
    return potential, spikes, None if trace is None else (trace >> 1) + (spikes << 7)


def slope_times(grad, potential, threshold, table):
    """Return grad * table[...], the surrogate derivative at the step of the table that is nearest to the potential."""
    side = len(table) // 2
    step = ((potential - threshold) * STEPS).round_().add_(side).clamp_max_(2 * side - 1)
    index = torch.fmax(step, torch.zeros((), device=step.device)).int()  # also where a potential is not a number
    return table.index_select(0, index.flatten()).view(index.shape) * grad


def gradient_sums(grad, z, unit):
    """Return (sums, largest) over the rows of ``grad``, rounded to whole multiples of ``unit``, at most 2^15.

    ``sums`` (3, C) float64: of the whole numbers, of their products with ``z``, and of their magnitudes; ``largest``
    (C,) float64: of the magnitudes.
    """
    exact = (grad * (1 / unit)).round_().double()
    magnitudes = exact.abs()
    return torch.stack((exact.sum(0), (exact * z).sum(0), magnitudes.sum(0))), magnitudes.amax(0)


def round_to_plane(grad, unit, z, coefficients, key):
    """Return (q, magnitudes): whole * a + z * b + c, ``coefficients`` (3, C), rounded at random to whole numbers, int8.

    ``whole``: ``grad`` in multiples of ``unit``, as above. What is beyond one 8-bit plane is cut. ``key``: a
    :class:`bso_lib.exact.noise.Key`. ``magnitudes`` (C,) float64: the sums of |q| over the rows.
    """
    a, b, c = coefficients
    rows, columns = rows_and_columns(key, *z.shape, z.device)
    noise = ((rows[:, None] + columns) & 0xFFFF).float() * 2**-16
    whole = (grad * (1 / unit)).round_()
    q = (whole * a).add_(z * b).add_(c).add_(noise).floor_().clamp_(-PLANE, PLANE)
    return q.to(torch.int8), q.abs().sum(0, dtype=torch.float64)


def sums_of_squares(x, size, most):
    """Return the sums over squares of size x size pixels of ``x`` (N, C, H, W), none above ``most``."""
    height, width = (side // size * size for side in x.shape[2:])
    parts = [x[:, :, i:height:size, j:width:size] for i in range(size) for j in range(size)]
    return sum(part.to(type_for(x.dtype, most)) for part in parts)


def type_for(dtype, most):
    """Return a type that holds sums of at most ``most``: floating-point numbers stay what they are."""
    if dtype.is_floating_point:
        return dtype
    return torch.uint8 if most < 2**8 else torch.int16 if most < 2**15 else torch.int32


def spread(grad, size, shape):
    """Return ``grad`` (N, C, h, w) repeated over squares of size x size pixels of ``shape``; 0 beyond them."""
    spread = F.interpolate(grad, scale_factor=size, mode="nearest")
    rest = [whole - part for whole, part in zip(shape[2:], spread.shape[2:], strict=True)]
    return F.pad(spread, (0, rest[1], 0, rest[0])) if any(rest) else spread
