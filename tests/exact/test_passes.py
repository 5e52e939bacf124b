"""The compiled passes and the plain ones: the same bits, for any shape, number of threads and extreme numbers."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from bso_lib.exact import compiled, passes
from bso_lib.exact.lif import surrogate_table
from bso_lib.exact.noise import Key

SHAPES = [(1, 1), (7, 3), (64, 8), (48, 100), (1024, 16), (30, 600)]


@pytest.fixture(params=SHAPES, ids=str)
def z(request):
    return torch.randint(-20_000, 20_000, request.param).float() / 4


@pytest.fixture(params=[1, 2, 4], ids=lambda n: f"{n} threads")
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        assert torch.equal(x, y)


def test_passes_are_the_same_to_the_bit(z, threads):
    rows, columns = z.shape
    scale, shift = torch.randn(2, columns)
    grad = torch.randn(rows, columns) * 10 ** torch.empty(rows, columns).uniform_(-6, 0)
    unit = torch.tensor(2.0**-15)
    same([compiled.moments(z)], [passes.moments(z)])
    whole = (z / 4).round()
    found = compiled.short_moments(whole)
    same(found, passes.short_moments(whole))
    assert torch.equal(found[0], whole.to(torch.int16))
    assert found[0].dtype == torch.int16
    z = z.to(torch.int16) if z.shape[0] % 2 else z  # either type
    found = compiled.scale_and_shift(z, scale, shift)
    same([found], [passes.scale_and_shift(z, scale, shift)])
    for own in (compiled, passes) if z.is_floating_point() else ():
        rows = z.clone()
        assert own.scale_and_shift(rows, scale, shift, out=rows) is rows
        assert torch.equal(rows, found)
    same(compiled.gradient_sums(grad, z, unit), passes.gradient_sums(grad, z, unit))
    coefficients = torch.randn(3, columns) * torch.tensor([[1e-3], [1e-4], [1.0]])
    key = Key(1, 2, 3, 4)
    same(*(p.round_to_plane(grad, unit, z, coefficients, key) for p in (compiled, passes)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 8, 4, 4), (3, 1, 5, 6)])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_pools_are_the_same_to_the_bit(shape, size, dtype, threads):
    x = torch.randint(256, shape).to(dtype)
    found = compiled.sums_of_squares(x, size, 255 * size**2)
    same([found], [passes.sums_of_squares(x, size, 255 * size**2)])
    assert torch.equal(found.double(), F.avg_pool2d(x.double(), size, divisor_override=1))
    assert found.dtype == (dtype if dtype == torch.float32 else torch.uint8 if size == 1 else torch.int16)
    grad = torch.randn(found.shape)
    same([compiled.spread(grad, size, shape)], [passes.spread(grad, size, shape)])


@pytest.mark.parametrize("traces", [False, True])
def test_neurons_are_the_same_to_the_bit(z, threads, traces):
    current, before = torch.randn_like(z), torch.randn_like(z) * 2
    before[0], current[0] = 1.0, 1.0  # at the threshold: they fire
    trace = torch.randint(256, z.shape, dtype=torch.uint8) if traces else None
    a, b = (p.fire(current, before, trace, 0.5, 1.0) for p in (compiled, passes))
    assert (a[2] is None) == (b[2] is None) == (not traces)
    same(a[: 2 + traces], b[: 2 + traces])
    table = surrogate_table(4.0)
    potential = torch.randn_like(z) * 3
    potential[0] = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30]).repeat(200)[: z.shape[1]]
    found = [p.slope_times(current, potential, 1.0, table) for p in (compiled, passes)]
    same(found[:1], found[1:])


def test_a_pass_takes_what_is_not_contiguous():
    z = torch.randn(40, 6)[:, ::2]
    assert torch.equal(compiled.moments(z), passes.moments(z))


def test_matrices_are_views_of_images_whose_channels_lie_last():
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    rows = passes.matrix(x)
    assert rows.data_ptr() == x.data_ptr()
    assert torch.equal(passes.like(x, rows), x)
    assert passes.matrix(rows) is rows
    assert torch.equal(passes.like(x, passes.matrix(x.contiguous())), x)


def test_compiled_loops_leave_pytorch_its_threads():
    """Numba starts as many threads as there are cores, and tells OpenMP so: PyTorch would use them from then on."""
    pytest.importorskip("numba")
    code = (
        "import torch; from bso_lib.exact.loops import threads_of_torch; "
        "print(torch.get_num_threads(), threads_of_torch(), torch.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["1", "1", "1"], done.stderr
