"""The passes of :mod:`bso_lib.exact.passes` as loops that numba compiles for this CPU: each reads its numbers once.

Same names, arguments and results, to the bit: numba neither reorders nor fuses floating-point operations, and the sums
are of whole numbers, so that threads may share the rows as they like. Compiled at first use, in seconds, and kept.
"""

import numba
import numpy as np
import torch

from bso_lib.exact.agreement import rank_and_ranks
from bso_lib.exact.compiled_spikes import fire, slope_times, spread, sums_of_squares
from bso_lib.exact.kernels import PLANE
from bso_lib.exact.loops import F32, as_arrays, of_channels, parallel, serial, share
from bso_lib.exact.noise import fractions, mix

__all__ = [
    "fire", "gradient_sums", "moments", "round_to_plane", "scale_and_shift", "short_moments", "slope_times", "spread",
    "sums_of_squares",
]  # fmt: skip


def _tiled(values, k):
    return values.detach().repeat(k).numpy()


@serial
def _moments_of(z, first, second):
    for i in range(len(z)):
        for j in range(z.shape[1]):
            value = np.float64(z[i, j])
            first[j] += value
            second[j] += value * value


@parallel
def _moments(z, out):
    for part in numba.prange(len(out)):
        own = share(z, part, len(out))
        _moments_of(own, out[part, 0], out[part, 1])


def moments(z):
    threads, k, (z,) = as_arrays(z)
    out = np.zeros((threads, 2, z.shape[1]))
    _moments(z, out)
    return of_channels(out, k)


@serial
def _short_moments_of(z, short, first, second):
    for i in range(len(z)):
        for j in range(z.shape[1]):
            short[i, j] = np.int16(z[i, j])
            value = np.float64(z[i, j])
            first[j] += value
            second[j] += value * value


@parallel
def _short_moments(z, short, out):
    threads = len(out)
    for part in numba.prange(threads):
        _short_moments_of(share(z, part, threads), share(short, part, threads), out[part, 0], out[part, 1])


def short_moments(z):
    short = torch.empty_like(z, dtype=torch.int16)
    threads, k, (z, out) = as_arrays(z, short)
    sums = np.zeros((threads, 2, z.shape[1]))
    _short_moments(z, out, sums)
    return short, of_channels(sums, k)


@serial
def _scale_and_shift_of(z, scale, shift, y):
    for i in range(len(z)):
        for j in range(z.shape[1]):
            y[i, j] = F32(z[i, j]) * scale[j] + shift[j]


@parallel
def _scale_and_shift(z, scale, shift, y, threads):
    for part in numba.prange(threads):
        _scale_and_shift_of(share(z, part, threads), scale, shift, share(y, part, threads))


def scale_and_shift(z, scale, shift, out=None):
    y = torch.empty_like(z, dtype=torch.float32) if out is None else out
    threads, k, (z, out) = as_arrays(z, y)
    _scale_and_shift(z, _tiled(scale, k), _tiled(shift, k), out, threads)
    return y


@serial
def _gradient_sums_of(grad, z, inverse, plain, products, magnitudes, largest):
    whole = len(z) // 4 * 4
    for i in range(0, whole, 4):
        for j in range(z.shape[1]):
            a, b = np.rint(grad[i, j] * inverse), np.rint(grad[i + 1, j] * inverse)
            c, d = np.rint(grad[i + 2, j] * inverse), np.rint(grad[i + 3, j] * inverse)
            plain[j] += np.float64((a + b) + (c + d))
            products[j] += (np.float64(a) * np.float64(z[i, j]) + np.float64(b) * np.float64(z[i + 1, j])) + (
                np.float64(c) * np.float64(z[i + 2, j]) + np.float64(d) * np.float64(z[i + 3, j])
            )
            a, b, c, d = abs(a), abs(b), abs(c), abs(d)
            magnitudes[j] += np.float64((a + b) + (c + d))
            largest[j] = max(largest[j], np.float64(max(max(a, b), max(c, d))))
    for i in range(whole, len(z)):
        for j in range(z.shape[1]):
            value = np.float64(np.rint(grad[i, j] * inverse))
            plain[j] += value
            products[j] += value * np.float64(z[i, j])
            magnitudes[j] += abs(value)
            largest[j] = max(largest[j], abs(value))


@parallel
def _gradient_sums(grad, z, inverse, out):
    threads = len(out)
    for part in numba.prange(threads):
        own = out[part]
        _gradient_sums_of(share(grad, part, threads), share(z, part, threads), inverse, own[0], own[1], own[2], own[3])


def gradient_sums(grad, z, unit):
    threads, k, (grad, z) = as_arrays(grad, z)
    sums = np.zeros((threads, 4, z.shape[1]))
    _gradient_sums(grad, z, F32(1 / float(unit)), sums)
    largest = torch.from_numpy(sums[:, 3].max(0)).view(k, -1).amax(0)
    return of_channels(sums[:, :3], k), largest


_mix = numba.njit(cache=True)(mix)


@serial
def _round_to_plane_of(grad, inverse, z, a, b, c, key, row, columns, q, magnitudes):
    width = len(columns)
    k = z.shape[1] // width
    for i in range(len(z)):
        for r in range(k):
            o, own = r * width, np.int32(_mix(_mix(row) ^ key) >> 16)
            row += 1
            for j in range(width):
                noise = F32((own + columns[j]) & 0xFFFF) * F32(2**-16)
                value = np.rint(grad[i, o + j] * inverse) * a[j] + F32(z[i, o + j]) * b[j]
                value = np.floor((value + c[j]) + noise)
                value = min(max(value, F32(-PLANE)), F32(PLANE))
                q[i, o + j] = np.int8(value)
                magnitudes[o + j] += np.int32(abs(value))


@parallel
def _round_to_plane(grad, inverse, z, coefficients, key, row, columns, q, magnitudes):
    threads, k = len(magnitudes), z.shape[1] // len(columns)
    for part in numba.prange(threads):
        first, end = part * len(z) // threads, (part + 1) * len(z) // threads
        _round_to_plane_of(
            grad[first:end], inverse, z[first:end], coefficients[0], coefficients[1], coefficients[2],
            key, row + first * k, columns, q[first:end], magnitudes[part],
        )  # fmt: skip


def round_to_plane(grad, unit, z, coefficients, key):
    of_rows, of_columns = key.hashes()
    rows, width = z.shape
    first = rank_and_ranks()[0] * rows
    columns = fractions(of_columns, width, 0, "cpu").numpy()
    q = torch.empty_like(grad, dtype=torch.int8)
    threads, k, (grad, z, out) = as_arrays(grad, z, q)
    magnitudes = np.zeros((threads, z.shape[1]), np.int32)
    _round_to_plane(grad, F32(1 / float(unit)), z, coefficients.numpy(), of_rows, first, columns, out, magnitudes)
    return q, of_channels(magnitudes.astype(np.float64), k)
