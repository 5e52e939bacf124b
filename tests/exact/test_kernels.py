"""The certificate: sums that might not be exact are split, and come out as in float64."""

import pytest
import torch

from bso_lib.exact.kernels import (
    Geometry,
    convolve,
    in_worst_channel,
    input_gradient,
    rounded_convolve,
    weight_gradient,
    wide_weight_gradient,
)

PLAIN = Geometry((1, 1), (1, 1), (1, 1), 1)


def operands(n=4, c=3, o=5, side=12, top=127):
    q = torch.randint(-top, top + 1, (n, o, side, side)).float()
    a = torch.randint(0, 4, (n, c, side, side)).float() / 2
    return q, a, torch.randint(0, 2, (o, c, 3, 3)) * 2.0 - 1


def reference(q, a, w):
    arguments = (q.double(), a.double(), w.double(), None, *PLAIN.backward(), (True, True, False))
    return torch.ops.aten.convolution_backward(*arguments)[:2]


def test_gradients_are_those_of_float64():
    q, a, w = operands()
    of_input, of_weight = reference(q, a, w)
    assert torch.equal(input_gradient(q, a.shape, w, PLAIN).double(), of_input)
    assert torch.equal(weight_gradient(q, a, w, PLAIN, in_worst_channel(q), 3), of_weight)
    assert torch.equal(convolve(a, w, PLAIN).double(), convolve(a.double(), w.double(), PLAIN))


def test_a_batch_that_fails_the_certificate_is_split(monkeypatch):
    """Each channel adds up to more than 2^24, all of one sign, which float32 cannot hold."""
    q, a, w = operands(side=40)
    q, a = q.abs() * 16, a + 64
    largest = 2 * 66
    assert in_worst_channel(q) * largest > 2**24
    sizes = []
    backward = torch.ops.aten.convolution_backward

    def watch(q, *rest):
        sizes.append((len(q), q.dtype))
        return backward(q, *rest)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", watch)
    found = weight_gradient(q, a, w, PLAIN, in_worst_channel(q), largest)
    assert max(n for n, _ in sizes) < len(q)
    monkeypatch.undo()
    assert torch.equal(found, reference(q, a, w)[1])


def test_a_single_sample_that_fails_is_summed_in_float64():
    q, a, w = operands(n=1, side=64)
    q, a = q.abs() * 64 + 1, a + 4097
    found = weight_gradient(q, a, w, PLAIN, in_worst_channel(q), 2 * 4100)
    assert torch.equal(found, reference(q, a, w)[1])
    assert not torch.equal(torch.ops.aten.convolution_backward(
        q, a, w, None, *PLAIN.backward(), (False, True, False))[1].double(), found)  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2])
def test_the_worst_channel(stride):
    q = torch.zeros(2, 3, 4, 4)
    q[0, 1, ::stride] = -2.0
    assert in_worst_channel(q) == 2.0 * 4 * 4 / stride


@pytest.mark.parametrize(("channels", "top"), [(1, 3000), (3, 2000), (8, 20_000)], ids=str)
@pytest.mark.parametrize("groups", [1, "each"])
def test_real_operands_are_rounded_once(channels, top, groups):
    """Two planes in float32, or float64 where the certificate fails (the last): what float64 gives, to the bit."""
    geometry = PLAIN._replace(groups=channels if groups == "each" else 1)
    x = torch.randint(-top, top + 1, (2, channels, 9, 9)).float()
    w = torch.randint(-(2**15), 2**15 + 1, (2 * channels, channels // geometry.groups, 3, 3)).float()
    w[0, 0, 0] = 2.0**15
    exact = convolve(x.double(), w.double(), geometry)
    assert torch.equal(rounded_convolve(x, w, geometry), exact.float())
    assert not torch.equal(exact, exact.float().double())  # the rounding matters
    q = torch.randint(-127, 128, exact.shape).float()
    found = wide_weight_gradient(q, x, w, geometry, in_worst_channel(q))
    assert torch.equal(found, weight_gradient(q.double(), x.double(), w.double(), geometry, 0, 0))


def test_what_is_not_finite_or_too_large_is_refused():
    w = torch.ones(1, 1, 3, 3) * 2**15
    for bad in (float("nan"), float("inf"), 1e12):
        with pytest.raises(ArithmeticError, match="not finite, or too large"):
            rounded_convolve(torch.full((1, 1, 4, 4), bad), w, PLAIN)
