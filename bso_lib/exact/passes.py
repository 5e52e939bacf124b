"""What is done to every number between two convolutions: BatchNorm, neurons, and the rounding of gradients.

Each function takes matrices (R, C) whose rows are samples and pixels and whose columns are channels. These are the
plain ones, in PyTorch, for any device; :mod:`bso_lib.exact.compiled` has the same for a CPU, to the bit and several
times as fast.
"""

import contextlib
import functools
import sys

import torch

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


def whole_moments(z, unit):
    """Return (whole, sums): ``z`` in whole multiples of ``unit``, below 2^15, int16, and :func:`moments` of these."""
    whole = (z * (1 / unit)).to(torch.int16)
    return whole, moments(whole)


def scale_and_shift(z, scale, shift):
    """Return z * scale + shift; ``scale``, ``shift`` (C,)."""
    return z * scale + shift


def fire(current, before, trace, decay, threshold):
    """Return (potential, spikes, trace) after a time step (Eq. 2, 3, 7), from the potential and the trace before it.

    ``decay`` is a power of two. ``trace``: uint8, in 128ths, halved by each step; None where there is none.
    """
    left = before - threshold * (before >= threshold)
    potential = current + decay * left
    spikes = torch.ge(potential, threshold, out=torch.empty_like(potential))
    return potential, spikes, None if trace is None else (trace >> 1) + (spikes.to(torch.uint8) << 7)


def slope_times(grad, potential, threshold, table):
    """Return grad * table[...], the surrogate derivative at the step of the table that is nearest to the potential."""
    side = len(table) // 2
    step = ((potential - threshold) * STEPS).round_().add_(side).clamp_max_(2 * side - 1)
    index = torch.fmax(step, torch.zeros((), device=step.device)).int()  # also where a potential is not a number
    return table.index_select(0, index.flatten()).view(index.shape) * grad


def gradient_sums(grad, z, unit):
    """Return (whole, sums, largest): ``grad`` in whole multiples of ``unit``, and sums over its rows.

    ``sums`` (3, C) float64: of the whole numbers, at most 2^15, of their products with ``z``, and of their magnitudes;
    ``largest`` (C,) float64: of the magnitudes.
    """
    whole = (grad * (1 / unit)).round_()
    exact = whole.double()
    magnitudes = exact.abs()
    return whole, torch.stack((exact.sum(0), (exact * z).sum(0), magnitudes.sum(0))), magnitudes.amax(0)


def round_to_plane(whole, z, coefficients, key):
    """Return (q, magnitudes): whole * a + z * b + c, ``coefficients`` (3, C), rounded at random to whole numbers.

    What is beyond one 8-bit plane is cut. ``key``: a :class:`bso_lib.exact.noise.Key`. ``magnitudes`` (C,) float64: the
    sums of |q| over the rows.
    """
    a, b, c = coefficients
    rows, columns = rows_and_columns(key, *z.shape, z.device)
    noise = ((rows[:, None] + columns) & 0xFFFF).float() * 2**-16
    q = (whole * a).add_(z * b).add_(c).add_(noise).floor_().clamp_(-PLANE, PLANE)
    return q, q.abs().sum(0, dtype=torch.float64)
