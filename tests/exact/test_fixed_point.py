"""Fixed point: units are powers of two, nothing depends on the order of the numbers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bso_lib.exact.fixed_point import exact_sum, fixed, magnitude, power_of_two, significant, unit_for


@pytest.mark.parametrize("exponent", [-126, -90, -1, 0, 1, 127])
def test_a_power_of_two_is_exactly_one(exponent):
    assert power_of_two(torch.tensor(exponent)).item() == 2.0**exponent


@given(st.floats(2.0**-80, 2.0**80), st.integers(1, 23))
def test_the_unit_leaves_the_bits_that_were_asked_for(value, bits):
    value = torch.tensor(value).float()
    whole = value.item() / unit_for(value, bits).item()
    assert 2 ** (bits - 1) <= whole < 2**bits


def test_zero_and_the_very_small_have_a_unit():
    for value in (0.0, 1e-40):
        assert 0 < unit_for(torch.tensor(value), 15).item() < 1e-3
    whole, unit = fixed(torch.zeros(5), 15)
    assert whole.tolist() == [0] * 5
    assert math.isfinite(unit)


def test_fixed_rounds_to_the_nearest_multiple():
    x = torch.randn(1000)
    whole, unit = fixed(x, 15)
    assert torch.equal(whole, whole.round())
    assert whole.abs().max() <= 2**15
    assert (whole * unit - x).abs().max() <= unit / 2
    assert torch.equal(fixed(x.flip(0), 15)[0], whole.flip(0))


def test_magnitude_is_of_the_largest_of_either_sign():
    assert magnitude(torch.tensor([1.0, -3.0, 2.0])).item() == 3


@given(st.floats(1e-30, 1e30), st.integers(2, 23))
def test_significant_digits(value, bits):
    x = torch.tensor([value, -value]).float()
    cut = significant(x, bits)
    mantissa, _ = torch.frexp(cut.double())
    assert torch.equal(mantissa * 2**bits, (mantissa * 2**bits).round())
    assert ((cut - x).abs() <= x.abs() * 2.0**-bits).all()


def test_an_exact_sum_does_not_depend_on_the_order_and_is_close():
    x = torch.rand(512, dtype=torch.float64) * 10 ** torch.linspace(-6, 6, 512, dtype=torch.float64)
    total = exact_sum(x)
    assert all(exact_sum(x[torch.randperm(512)]) == total for _ in range(20))
    assert total.item() == pytest.approx(math.fsum(x.tolist()), rel=1e-6)
