"""The passes of :mod:`bso_lib.exact.passes` as loops that numba compiles for this CPU: each reads its numbers once.

Same names, arguments and results, to the bit: numba neither reorders nor fuses floating-point operations, and the sums
are of whole numbers, so that threads may share the rows as they like. Compiled at first use, in seconds, and kept.
"""

import numba
import numpy as np
import torch

from bso_lib.exact.agreement import rank_and_ranks
from bso_lib.exact.kernels import PLANE
from bso_lib.exact.noise import fractions, mix
from bso_lib.exact.passes import STEPS

_WIDE = 256  # numbers of the inner loops: rows of few channels are taken together
_F = np.float32
_MOST_THREADS = numba.config.NUMBA_NUM_THREADS  # as many as cores: numba knows no more
_ZERO, _ONE = _F(0), _F(1)
_NONE = np.empty((0, 1), np.uint8)
_compile = numba.njit(parallel=True, cache=True, error_model="numpy")
_serial = numba.njit(cache=True, error_model="numpy")


@_serial
def _share(x, part, parts):
    return x[part * len(x) // parts : (part + 1) * len(x) // parts]


def _arrays(*matrices):
    """Return (threads, rows that are taken together, the matrices (R, C) as arrays (R / k, k C))."""
    rows, columns = matrices[0].shape
    k = 1
    while k * columns < _WIDE and rows % (2 * k) == 0:
        k *= 2
    # Always the threads that PyTorch has: numba tells OpenMP how many, and PyTorch would go on with fewer.
    threads = min(torch.get_num_threads(), _MOST_THREADS)
    numba.set_num_threads(threads)
    return threads, k, [m.contiguous().view(rows // k, k * columns).numpy() for m in matrices]


def _of_channels(partial, k):
    """Return the exact sums over threads and over the rows that were taken together: (..., C) float64."""
    total = torch.from_numpy(partial.sum(0))
    return total.view(*total.shape[:-1], k, -1).sum(-2)


def _tiled(values, k):
    return values.detach().repeat(k).numpy()


@_serial
def _moments_of(z, first, second):
    for i in range(len(z)):
        for j in range(z.shape[1]):
            value = np.float64(z[i, j])
            first[j] += value
            second[j] += value * value


@_compile
def _moments(z, out):
    for part in numba.prange(len(out)):
        own = _share(z, part, len(out))
        _moments_of(own, out[part, 0], out[part, 1])


def moments(z):
    threads, k, (z,) = _arrays(z)
    out = np.zeros((threads, 2, z.shape[1]))
    _moments(z, out)
    return _of_channels(out, k)


@_serial
def _whole_moments_of(z, inverse, whole, first, second):
    for i in range(len(z)):
        for j in range(z.shape[1]):
            number = z[i, j] * inverse
            whole[i, j] = np.int16(number)
            value = np.float64(number)
            first[j] += value
            second[j] += value * value


@_compile
def _whole_moments(z, inverse, whole, out):
    threads = len(out)
    for part in numba.prange(threads):
        _whole_moments_of(_share(z, part, threads), inverse, _share(whole, part, threads), out[part, 0], out[part, 1])


def whole_moments(z, unit):
    whole = torch.empty_like(z, dtype=torch.int16)
    threads, k, (z, out) = _arrays(z, whole)
    sums = np.zeros((threads, 2, z.shape[1]))
    _whole_moments(z, _F(1 / unit), out, sums)
    return whole, _of_channels(sums, k)


@_serial
def _scale_and_shift_of(z, scale, shift, y):
    for i in range(len(z)):
        for j in range(z.shape[1]):
            y[i, j] = _F(z[i, j]) * scale[j] + shift[j]


@_compile
def _scale_and_shift(z, scale, shift, y, threads):
    for part in numba.prange(threads):
        _scale_and_shift_of(_share(z, part, threads), scale, shift, _share(y, part, threads))


def scale_and_shift(z, scale, shift):
    if z.dtype == torch.float64:
        return z * scale + shift
    y = torch.empty_like(z, dtype=torch.float32)
    threads, k, (z, out) = _arrays(z, y)
    _scale_and_shift(z, _tiled(scale, k), _tiled(shift, k), out, threads)
    return y


@_serial
def _gradient_sums_of(grad, z, inverse, whole, plain, products, magnitudes, largest):
    for i in range(len(z)):
        for j in range(z.shape[1]):
            rounded = np.rint(grad[i, j] * inverse)
            whole[i, j] = rounded
            value = np.float64(rounded)
            plain[j] += value
            products[j] += value * np.float64(z[i, j])
            magnitudes[j] += abs(value)
            largest[j] = max(largest[j], abs(value))


@_compile
def _gradient_sums(grad, z, inverse, whole, out):
    threads = len(out)
    for part in numba.prange(threads):
        own = out[part]
        _gradient_sums_of(
            _share(grad, part, threads), _share(z, part, threads), inverse, _share(whole, part, threads),
            own[0], own[1], own[2], own[3],
        )  # fmt: skip


def gradient_sums(grad, z, unit):
    whole = torch.empty_like(grad)
    threads, k, (grad, z, out) = _arrays(grad, z, whole)
    sums = np.zeros((threads, 4, z.shape[1]))
    _gradient_sums(grad, z, _F(1 / float(unit)), out, sums)
    largest = torch.from_numpy(sums[:, 3].max(0)).view(k, -1).amax(0)
    return whole, _of_channels(sums[:, :3], k), largest


_mix = numba.njit(cache=True)(mix)


@_serial
def _round_to_plane_of(whole, z, a, b, c, key, row, columns, q, magnitudes):
    width = len(columns)
    k = z.shape[1] // width
    for i in range(len(z)):
        for r in range(k):
            o, own = r * width, np.int32(_mix(_mix(row) ^ key) >> 16)
            row += 1
            for j in range(width):
                noise = _F((own + columns[j]) & 0xFFFF) * _F(2**-16)
                value = whole[i, o + j] * a[j] + _F(z[i, o + j]) * b[j]
                value = np.floor((value + c[j]) + noise)
                value = min(max(value, _F(-PLANE)), _F(PLANE))
                q[i, o + j] = value
                magnitudes[o + j] += np.int32(abs(value))


@_compile
def _round_to_plane(whole, z, coefficients, key, row, columns, q, magnitudes):
    threads, k = len(magnitudes), z.shape[1] // len(columns)
    for part in numba.prange(threads):
        first, end = part * len(z) // threads, (part + 1) * len(z) // threads
        _round_to_plane_of(
            whole[first:end], z[first:end], coefficients[0], coefficients[1], coefficients[2],
            key, row + first * k, columns, q[first:end], magnitudes[part],
        )  # fmt: skip


def round_to_plane(whole, z, coefficients, key):
    of_rows, of_columns = key.hashes()
    rows, width = z.shape
    first = rank_and_ranks()[0] * rows
    columns = fractions(of_columns, width, 0, "cpu").numpy()
    q = torch.empty_like(whole)
    threads, k, (whole, z, out) = _arrays(whole, z, q)
    magnitudes = np.zeros((threads, z.shape[1]), np.int32)
    _round_to_plane(whole, z, coefficients.numpy(), of_rows, first, columns, out, magnitudes)
    return q, _of_channels(magnitudes.astype(np.float64), k)


@_serial
def _fire_of(current, before, trace_before, decay, threshold, potential, spikes, trace):
    traces = len(trace) > 0
    for i in range(len(current)):
        for j in range(current.shape[1]):
            left = before[i, j]
            value = current[i, j] + decay * (left - (threshold if left >= threshold else _ZERO))
            potential[i, j] = value
            spikes[i, j] = _ONE if value >= threshold else _ZERO
        if traces:
            for j in range(current.shape[1]):
                trace[i, j] = (trace_before[i, j] >> 1) + (np.uint8(spikes[i, j]) << 7)


@_compile
def _fire(current, before, trace_before, decay, threshold, potential, spikes, trace, threads):
    for part in numba.prange(threads):
        _fire_of(
            _share(current, part, threads), _share(before, part, threads), _share(trace_before, part, threads),
            decay, threshold,
            _share(potential, part, threads), _share(spikes, part, threads), _share(trace, part, threads),
        )  # fmt: skip


def fire(current, before, trace, decay, threshold):
    potential, spikes = torch.empty_like(current), torch.empty_like(current)
    new = None if trace is None else torch.empty_like(trace)
    threads, _, arrays = _arrays(current, before, potential, spikes)
    was, now = (_NONE, _NONE) if trace is None else _arrays(trace, new)[2]
    _fire(arrays[0], arrays[1], was, _F(decay), _F(threshold), arrays[2], arrays[3], now, threads)
    return potential, spikes, new


@_serial
def _slope_times_of(grad, potential, threshold, table, out):
    side = len(table) // 2
    index = np.empty(grad.shape[1], np.int32)
    for i in range(len(grad)):
        for j in range(grad.shape[1]):
            step = np.rint((potential[i, j] - threshold) * _F(STEPS)) + _F(side)
            step = step if step < _F(2 * side - 1) else _F(2 * side - 1)
            index[j] = np.int32(step if step > _ZERO else _ZERO)
        for j in range(grad.shape[1]):
            out[i, j] = table[index[j]] * grad[i, j]


@_compile
def _slope_times(grad, potential, threshold, table, out, threads):
    for part in numba.prange(threads):
        _slope_times_of(
            _share(grad, part, threads), _share(potential, part, threads), threshold, table, _share(out, part, threads)
        )


def slope_times(grad, potential, threshold, table):
    out = torch.empty_like(potential)
    threads, _, (grad, potential, product) = _arrays(grad, potential, out)
    _slope_times(grad, potential, _F(threshold), table.numpy(), product, threads)
    return out
