"""The capturable optimizers beside the plain ones: the same to the bit, without a question to the device."""

import copy
import math

import numpy as np
import pytest
import torch
from device_reads import DeviceReads
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bso_lib.optim import BSO, TBSO
from bso_lib.reference import bso_step, tbso_step


def pair(kind):
    torch.manual_seed(0)
    start = torch.randint(2, (300,)) * 2.0 - 1
    w, u = (torch.nn.Parameter(start.clone()) for _ in "wu")
    settings = {"gamma": 0.3, "beta1": 0.9} if kind is TBSO else {"gamma": 0.01, "beta": 0.9}
    steps = (2,) if kind is TBSO else ()
    return w, kind([w], *steps, **settings), u, kind([u], *steps, **settings, capturable=True)


def steps_of(kind, k):
    return {"t": k % 2} if kind is TBSO else {}


@pytest.mark.parametrize("kind", [BSO, TBSO])
def test_finite_gradients_move_it_as_the_plain_optimizer_without_a_read(kind):
    w, plain, u, capturable = pair(kind)
    start = w.detach().clone()
    for k in range(20):
        w.grad = torch.randn(300)
        u.grad = w.grad.clone()
        plain.step(**steps_of(kind, k))
        with DeviceReads() as reads:
            capturable.step(**steps_of(kind, k))
        assert reads.count == 0
        assert torch.equal(w, u)
        for name, value in plain.state[w].items():
            assert torch.equal(capturable.state[u][name], value)
    assert int((w != start).sum()) > 10
    capturable.raise_if_refused()


@pytest.mark.parametrize("kind", [BSO, TBSO])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(kind, bad, first):
    _, _, u, capturable = pair(kind)
    if not first:
        for k in range(6):
            u.grad = torch.randn(300)
            capturable.step(**steps_of(kind, k))
    before, state = u.detach().clone(), copy.deepcopy(capturable.state[u])
    u.grad = torch.randn(300)
    u.grad[7] = bad
    capturable.param_groups[0]["gamma"] = 0.0  # so that every weight whose momentum agrees would flip
    capturable.step(**steps_of(kind, 0))
    assert torch.equal(u, before)
    for name, value in capturable.state[u].items():
        assert torch.equal(value, torch.zeros_like(value) if first else state[name])
    with pytest.raises(ValueError, match=r"not finite \(NaN or infinity\) in 1 update: these changed no weight"):
        capturable.raise_if_refused()
    capturable.raise_if_refused()


def test_the_rate_may_be_a_tensor():
    w, plain, u, capturable = pair(TBSO)
    rate = torch.ones((), dtype=torch.float64)
    capturable.param_groups[0]["lr"] = rate
    for k in range(10):
        w.grad = torch.randn(300)
        u.grad = w.grad.clone()
        plain.param_groups[0]["lr"] = 1 / (k + 1)
        rate.fill_(1 / (k + 1))
        plain.step(t=k % 2)
        with DeviceReads() as reads:
            capturable.step(t=k % 2)
        assert reads.count == 0
        torch.testing.assert_close(capturable.state[u]["momentum"], plain.state[w]["momentum"])
    assert torch.equal(w, u)


def test_it_takes_a_plain_optimizers_state_and_gives_its_own():
    w, plain, u, capturable = pair(TBSO)
    w.grad = torch.randn(300)
    plain.step(t=0)
    capturable.load_state_dict(copy.deepcopy(plain.state_dict()))
    w.grad = torch.full((300,), math.nan)
    u.grad = w.grad.clone()
    capturable.step(t=1)  # still capturable: it counts where the plain one raises
    with pytest.raises(ValueError, match="1 update"):
        capturable.raise_if_refused()
    plain.load_state_dict(capturable.state_dict())
    with pytest.raises(ValueError, match="no weight and no momentum was changed"):
        plain.step(t=1)
    assert torch.equal(plain.state[w]["momentum"], capturable.state[u]["momentum"])


@pytest.mark.parametrize("kind", [BSO, TBSO])
def test_a_plain_optimizer_never_refuses_in_silence(kind):
    _, plain, _, _ = pair(kind)
    plain.raise_if_refused()


exact = hnp.arrays(np.int64, st.tuples(st.integers(1, 10), st.just(5)), elements=st.integers(-16, 16)).map(
    lambda a: a / 8
)


@given(exact, st.sampled_from([0.0, 0.125, 0.5]), st.booleans())
def test_it_is_the_reference_to_the_bit(gradients, gamma, temporal):
    W, M, v = np.ones(5), np.zeros(5), np.zeros(1)
    w = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
    optimizer = (
        TBSO([w], 1, gamma=gamma, beta1=0.5, beta2=0.75, capturable=True)
        if temporal
        else BSO([w], gamma=gamma, beta=0.5, capturable=True)
    )
    for g in gradients:
        w.grad = torch.from_numpy(g)
        optimizer.step(**({"t": 0} if temporal else {}))
        if temporal:
            W, M, v = tbso_step(W, M, v, g, 0, gamma, 0.5, 0.75)
        else:
            W, M = bso_step(W, M, g, gamma, 0.5)
    assert np.array_equal(w.detach().numpy(), W)
    assert np.array_equal(optimizer.state[w]["momentum"].numpy(), M)
