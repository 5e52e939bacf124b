"""LIF dynamics, surrogate and traces against their equations written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bso_lib.neurons import LIF
from bso_lib.surrogate import sigmoid_derivative, spike


def run(lif, currents):
    return [lif(current) for current in currents]


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=12))
def test_membrane_and_spikes_follow_equations_2_and_3(currents):
    lif, u, s = LIF("none"), 0.0, 0.0
    with torch.no_grad():
        for current in currents:
            out = lif(torch.tensor([current], dtype=torch.float64)).values
            u = 0.5 * (u - s) + current
            s = float(u >= 1)
            assert float(out) == s
            assert float(lif.potential) == u
            assert float(lif.membrane) == u - s


def test_the_threshold_itself_spikes():
    assert LIF("none")(torch.tensor([1.0])).values.tolist() == [1.0]


def test_surrogate_gradient_is_the_sigmoid_derivative_of_slope_4():
    potential = torch.linspace(-3, 5, 41, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(41).double()
    spike(potential).backward(upstream)
    x = (potential.detach() - 1).requires_grad_()
    torch.sigmoid(4 * x).backward(upstream)
    torch.testing.assert_close(potential.grad, x.grad)
    torch.testing.assert_close(sigmoid_derivative(x.detach()) * upstream, x.grad)


def test_ottt_trace_is_the_discounted_sum_of_past_spikes():
    lif, currents = LIF("ottt"), torch.randn(7, 50).double() + 0.8
    outputs = run(lif, currents)
    spikes = [out.values.detach() for out in outputs]
    for t, out in enumerate(outputs):
        closed_form = sum(0.5 ** (t - k) * spikes[k] for k in range(t + 1))
        torch.testing.assert_close(out.trace, closed_form)
        assert not out.trace.requires_grad


def test_ndot_trace_uses_the_clamped_ratio_of_membranes():
    lif, currents = LIF("ndot"), torch.randn(7, 200).double() + 0.5
    membrane, trace, ratios = torch.zeros(200).double(), torch.zeros(200).double(), []
    for t, current in enumerate(currents):
        out = lif(current)
        u = 0.5 * membrane + current
        s = (u >= 1).double()
        new = u - s
        mu = (new / membrane).clamp(-0.5, 0.5) if t else torch.zeros(200).double()
        trace = mu * trace + s
        membrane = new
        ratios.append(mu)
        torch.testing.assert_close(out.trace, trace)
    assert len(torch.stack(ratios[1:]).unique()) > 100  # not only the clamp's ends


def test_the_published_codes_ndot_subtracts_the_threshold_twice():
    torch.manual_seed(0)
    currents = torch.randn(6, 4000)
    lif = LIF("ndot-code")
    potential_after = trace = None
    ratios = []
    for current in currents:
        out = lif(current)
        s = out.values
        twice = lif.membrane - s  # u - 2 V_th s
        if trace is None:
            trace = s
        else:
            ratio = twice / potential_after
            ratios.append(ratio)
            trace = ratio.clamp(-0.5, 0.5) * trace + s
        potential_after = twice
        torch.testing.assert_close(out.trace, trace)
    ratios = torch.cat(ratios)
    # On Gaussian input it is often negative and mostly clamped, unlike the ratio of the potentials.
    assert float((ratios < 0).float().mean()) > 0.35
    assert float((ratios.abs() > 0.5).float().mean()) > 0.65
    lif.reset_state()
    torch.testing.assert_close(lif(currents[0]).trace, (currents[0] >= 1).float())


def test_ndot_of_a_silent_neuron_decays_by_the_leak():
    lif = LIF("ndot")
    for current in (1.0, 0.0, 0.0):  # u = V_th exactly: the reset leaves 0, then 0 / 0
        out = lif(torch.tensor([current]))
    assert out.trace.tolist() == [0.25]


def test_online_detaches_time_and_bptt_does_not():
    for online, reaches in ((True, False), (False, True)):
        lif, first = LIF("ottt", online), torch.full((3,), 0.4, requires_grad=True)
        lif(first)
        second = lif(torch.full((3,), 0.4, requires_grad=True)).values.sum()
        (gradient,) = torch.autograd.grad(second, first, allow_unused=True)
        assert (gradient is not None) == reaches


def test_evaluation_keeps_no_trace_and_reset_forgets():
    lif = LIF("ottt")
    with torch.no_grad():
        assert lif(torch.ones(3)).trace is None
    lif.reset_state()
    assert lif.membrane is lif.potential is None
    assert lif.trace is None


def test_an_unknown_trace_is_refused():
    with pytest.raises(ValueError, match="trace='otttt': must be one of ottt, ndot, none, ndot-code"):
        LIF("otttt")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"decay": 2}, r"decay=2: must be in \[0, 1\]"),
        ({"decay": -0.1}, r"decay=-0.1: must be in \[0, 1\]"),
        ({"decay": float("nan")}, "decay=nan"),
        ({"threshold": 0}, "threshold=0: must be a finite number above 0"),
        ({"threshold": float("inf")}, "threshold=inf"),
        ({"alpha": -1}, "alpha=-1: must be a finite number above 0"),
    ],
)
def test_settings_without_meaning_are_refused(setting, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        LIF(**setting)
