"""The capturable optimizers beside the plain ones: the same to the bit, without a question to the device."""

import copy
import math

import pytest
import torch
from device_reads import DeviceReads

from bso_lib.capturable import CapturableBSO, CapturableTBSO, make_capturable_
from bso_lib.optim import BSO, TBSO


def pair(kind):
    torch.manual_seed(0)
    start = torch.randint(2, (300,)) * 2.0 - 1
    w, u = (torch.nn.Parameter(start.clone()) for _ in "wu")
    settings = {"gamma": 0.3, "beta1": 0.9} if kind is TBSO else {"gamma": 0.01, "beta": 0.9}
    steps = (2,) if kind is TBSO else ()
    return w, kind([w], *steps, **settings), u, make_capturable_(kind([u], *steps, **settings))


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


def test_it_stays_the_same_optimizer():
    w, plain, u, capturable = pair(TBSO)
    assert type(capturable) is CapturableTBSO
    assert type(make_capturable_(BSO([u]))) is CapturableBSO
    assert make_capturable_(capturable) is capturable
    u.grad = torch.randn(300)
    capturable.step(t=0)
    plain.load_state_dict(capturable.state_dict())
    assert torch.equal(plain.state[w]["momentum"], capturable.state[u]["momentum"])
    with pytest.raises(ValueError, match="SGD cannot be made capturable: must be BSO or TBSO"):
        make_capturable_(torch.optim.SGD([w], lr=0.1))
