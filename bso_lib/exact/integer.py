"""The convolutions of a binary layer in 8-bit integers, added up in 32 bits, where that is right and pays.

PyTorch's quantised operators do the work. They are private and may change, and on a processor without the instructions
(VNNI) some of them add two products in 16 bits. So a shape is first tried: with the largest operands side by side, and
against the clock. Only where sums are right and sooner there than in float32 are integers used; the bits are the same.
"""

import functools
import math
import time

import torch
import torch.nn.functional as F

from bso_lib.exact import kernels
from bso_lib.exact.kernels import PLANE, Geometry

_SMALL = 127  # what an int8 holds
_UNFOLDED = 2**23  # bytes of windows that are written out at a time


def has_instructions() -> bool:
    """Return whether this processor multiplies and adds 8-bit integers in one step, and PyTorch may use that."""
    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)()
    return supported and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def convolve8(x, w, geometry):
    """Return the convolution of ``x``, uint8, with ``w`` of +-1, whole numbers in float32."""
    return _convolve8(x, 0, w.to(torch.int8), torch.ones(()), geometry)


def input_gradient8(q, w, geometry, unit):
    """Return ``unit`` times the gradient of the input, float32, for ``q``, int8, at the output; stride 1."""
    turned = w.to(torch.int8).flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
    padding = [size - 1 - p for size, p in zip(w.shape[2:], geometry.padding, strict=True)]
    shifted = q.view(torch.uint8) ^ 128  # q + 128
    return _convolve8(shifted, 128, turned, unit.float(), geometry._replace(padding=padding))


def _convolve8(x, x_zero, w, w_scale, geometry):
    ops, zero = torch.ops.onednn, torch.zeros((), dtype=torch.int64)
    packed = ops.qconv_prepack(w, w_scale, 1.0, x_zero, *map(list, geometry[:3]), geometry.groups, list(x.shape))
    plain_float32 = (1.0, 0, torch.float32, "none", [], "")  # output scale and zero point, type, nothing after it
    return ops.qconv2d_pointwise(
        x, 1.0, x_zero, packed, w_scale, zero, None, *map(list, geometry[:3]), geometry.groups, *plain_float32
    )


def weight_gradient8(q, a, kernel_size, geometry):
    """Return the gradient of the weight, float64, for ``q`` and ``a``, int8; stride 1."""
    each = max(1, a[0].numel() * math.prod(kernel_size))
    parts = zip(*(x.split(max(1, _UNFOLDED // each)) for x in (q, a)), strict=True)
    found = functools.reduce(torch.Tensor.add_, (_by_windows(*part, kernel_size, geometry) for part in parts))
    return found.view(q.shape[1], *kernel_size, -1).permute(0, 3, 1, 2).double()


def _by_windows(q, a, kernel_size, geometry):
    (rows, columns), (top, left) = kernel_size, geometry.padding
    padded = F.pad(a.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
    height, width = q.shape[2:]
    windows = [padded[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
    unfolded = torch.stack(windows, 3).reshape(-1, rows * columns * a.shape[1])
    upstream = q.permute(0, 2, 3, 1).reshape(-1, q.shape[1]).t().contiguous()
    return torch._int_mm(upstream, unfolded)


def convolve(x, w, geometry):
    """Return the convolution of ``x``, whole numbers in an integer type, with ``w`` of +-1: whole, in float32."""
    if x.dtype == torch.uint8 and _pays("convolve", x.device, x.shape, w.shape, geometry):
        return convolve8(x, w, geometry)
    return kernels.convolve(x.float(), w, geometry)


def input_gradient(q, shape, w, geometry, unit):
    """Return ``unit``, a power of two, times the gradient of the input, of ``shape``, float32, for ``q``, int8."""
    if _pays("input gradient", q.device, shape, w.shape, geometry):
        return input_gradient8(q, w, geometry, unit)
    # The unit goes to the weights, which are fewer; a power of two changes no digit of a sum.
    return kernels.input_gradient(q.float(), shape, w * unit.float(), geometry)


def weight_gradient(q, a, w, geometry, magnitudes, largest, shift):
    """Return the gradient of ``w``, float64, as :func:`bso_lib.exact.kernels.weight_gradient`, for int8 ``q``.

    ``a``: whole multiples of 2^shift in an integer type, or of 2^-7 in float32; ``largest``: of these multiples.
    """
    whole = not a.is_floating_point()
    fits = whole and largest <= _SMALL and magnitudes * largest < 2**31
    if fits and _pays("weight gradient", q.device, a.shape, w.shape, geometry):
        return weight_gradient8(q, (a >> shift).to(torch.int8), w.shape[2:], geometry) * 2.0**shift
    return kernels.weight_gradient(q.float(), a.float(), w, geometry, magnitudes, largest)


def _pays(kind, device, of_input, of_weight, geometry):
    plain = geometry.groups == 1 and tuple(geometry.dilation) == (1, 1)
    plain = plain and (kind == "convolve" or tuple(geometry.stride) == (1, 1))
    if not plain or device.type != "cpu" or not has_instructions():
        return False
    return right_and_sooner(kind, tuple(of_input), tuple(of_weight), geometry, torch.get_num_threads())


@functools.cache
def right_and_sooner(kind: str, of_input: tuple, of_weight: tuple, geometry: Geometry, threads: int) -> bool:
    """Return whether ``kind`` of these shapes comes out right in integers, with the largest operands, and sooner."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return right(kind, of_input, of_weight, geometry) and _sooner(kind, of_input, of_weight, geometry)


def right(kind: str, of_input: tuple, of_weight: tuple, geometry: Geometry) -> bool:
    """Return whether integers add up the largest operands, side by side, as float64 does; on two samples at most."""
    operands = _operands((min(2, of_input[0]), *of_input[1:]), of_weight, geometry)
    exact, _ = _ways(kind, *operands, geometry, torch.float64)
    _, found = _ways(kind, *operands, geometry, torch.float32)
    try:
        return torch.equal(found().double(), exact().double())
    except (RuntimeError, AttributeError, NotImplementedError):  # of another version's operators
        return False


def _sooner(kind, of_input, of_weight, geometry):
    plain, integers = _ways(kind, *_operands(of_input, of_weight, geometry), geometry, torch.float32)
    return _seconds(integers) < _seconds(plain)


def _ways(kind, x, q, w, geometry, wide):
    """Return functions that compute ``kind`` in the type ``wide``, and in integers."""
    half, plain = torch.tensor(0.5), w.to(wide)
    if kind == "convolve":
        return lambda: kernels.convolve(x.to(wide), plain, geometry), lambda: convolve8(x, w, geometry)
    if kind == "input gradient":
        return (
            lambda: kernels.input_gradient(q.to(wide), x.shape, plain * half, geometry),
            lambda: input_gradient8(q, w, geometry, half),
        )
    a = (x // 2).to(torch.int8)
    return (
        lambda: kernels.weight_gradient(q.to(wide), a.to(wide), plain, geometry, 0, 0),
        lambda: weight_gradient8(q, a, w.shape[2:], geometry),
    )


def _operands(of_input, of_weight, geometry):
    """Return input, gradient at the output and weight, each number as large as it can be."""
    x, w = _extremes(of_input, 255, signed=False), _extremes(of_weight, 1, signed=True)
    q = _extremes(tuple(kernels.convolve(x, w, geometry).shape), PLANE, signed=True)
    return x.to(torch.uint8), q.to(torch.int8), w


def _extremes(shape, top, signed):
    """Return a tensor of 0 or ``top``, or of both signs of it, channels last."""
    flips = torch.randint(2, shape).float()
    x = (2 * flips - 1 if signed else flips) * top
    return x.contiguous(memory_format=torch.channels_last)


def _seconds(function, repeats=3):
    function()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best
