"""The passes over neurons, spikes and pools of :mod:`bso_lib.exact.compiled`."""

import numba
import numpy as np
import torch

from bso_lib.exact.loops import F32, ZERO, as_arrays, parallel, serial, share, threads_of_torch
from bso_lib.exact.passes import STEPS, type_for

_NONE = np.empty((0, 1), np.uint8)


@serial
def _fire_of(current, before, trace_before, decay, threshold, potential, spikes, trace):
    traces = len(trace) > 0
    for i in range(len(current)):
        for j in range(current.shape[1]):
            left = before[i, j]
            value = current[i, j] + decay * (left - (threshold if left >= threshold else ZERO))
            potential[i, j] = value
            spikes[i, j] = value >= threshold
        if traces:
            for j in range(current.shape[1]):
                trace[i, j] = (trace_before[i, j] >> 1) + (spikes[i, j] << 7)


@parallel
def _fire(current, before, trace_before, decay, threshold, potential, spikes, trace, threads):
    for part in numba.prange(threads):
        _fire_of(
            share(current, part, threads), share(before, part, threads), share(trace_before, part, threads),
            decay, threshold,
            share(potential, part, threads), share(spikes, part, threads), share(trace, part, threads),
        )  # fmt: skip


def fire(current, before, trace, decay, threshold):
    potential, spikes = torch.empty_like(current), torch.empty_like(current, dtype=torch.uint8)
    new = None if trace is None else torch.empty_like(trace)
    threads, _, arrays = as_arrays(current, before, potential, spikes)
    was, now = (_NONE, _NONE) if trace is None else as_arrays(trace, new)[2]
    _fire(arrays[0], arrays[1], was, F32(decay), F32(threshold), arrays[2], arrays[3], now, threads)
    return potential, spikes, new


@serial
def _slope_times_of(grad, potential, threshold, table, out):
    side = len(table) // 2
    index = np.empty(grad.shape[1], np.int32)
    for i in range(len(grad)):
        for j in range(grad.shape[1]):
            step = np.rint((potential[i, j] - threshold) * F32(STEPS)) + F32(side)
            step = step if step < F32(2 * side - 1) else F32(2 * side - 1)
            index[j] = np.int32(step if step > ZERO else ZERO)
        for j in range(grad.shape[1]):
            out[i, j] = table[index[j]] * grad[i, j]


@parallel
def _slope_times(grad, potential, threshold, table, out, threads):
    for part in numba.prange(threads):
        _slope_times_of(
            share(grad, part, threads), share(potential, part, threads), threshold, table, share(out, part, threads)
        )


def slope_times(grad, potential, threshold, table):
    out = torch.empty_like(potential)
    threads, _, (grad, potential, product) = as_arrays(grad, potential, out)
    _slope_times(grad, potential, F32(threshold), table.numpy(), product, threads)
    return out


def _lines(*images):
    """Return ``images`` (N, C, H, W) as arrays (N, H, W C), views if their channels lie last."""
    threads_of_torch()
    arrays = [x.permute(0, 2, 3, 1).contiguous() for x in images]
    return [x.flatten(2).numpy() for x in arrays]


@serial
def _add_lines(x, n, first, size, line):
    for j in range(x.shape[2]):
        line[j] = x[n, first, j]
    for i in range(1, size):
        for j in range(x.shape[2]):
            line[j] += x[n, first + i, j]


@parallel
def _sums_of_squares(x, size, channels, out, lines):
    samples, height, width = out.shape
    threads = len(lines)
    for part in numba.prange(threads):
        line = lines[part]
        for row in range(part * samples * height // threads, (part + 1) * samples * height // threads):
            n, h = row // height, row % height
            _add_lines(x, n, h * size, size, line)
            for o in range(0, width, channels):
                for j in range(channels):
                    out[n, h, o + j] = line[o * size + j]
                for i in range(1, size):
                    first = o * size + i * channels
                    for j in range(channels):
                        out[n, h, o + j] += line[first + j]


def sums_of_squares(x, size, most):
    n, channels, height, width = x.shape
    out = torch.empty(n, height // size, width // size, channels, dtype=type_for(x.dtype, most)).permute(0, 3, 1, 2)
    x, sums = _lines(x, out)
    lines = np.empty((threads_of_torch(), x.shape[2]), sums.dtype)
    _sums_of_squares(x, size, channels, sums, lines)
    return out


@parallel
def _spread(grad, size, channels, out):
    samples, height, width = grad.shape
    for row in numba.prange(samples * height):
        n, h = row // height, row % height
        line = out[n, h * size]
        for o in range(0, width, channels):
            for i in range(size):
                first = o * size + i * channels
                for j in range(channels):
                    line[first + j] = grad[n, h, o + j]
        line[width * size :] = ZERO
        for i in range(1, size):
            for j in range(len(line)):
                out[n, h * size + i, j] = line[j]
    for n in numba.prange(samples):
        out[n, height * size :] = ZERO


def spread(grad, size, shape):
    n, channels, height, width = shape
    out = torch.empty(n, height, width, channels).permute(0, 3, 1, 2)
    grad, whole = _lines(grad, out)
    _spread(grad, size, channels, whole)
    return out
