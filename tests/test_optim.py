"""BSO and T-BSO against Algorithm 1 as bso_lib.reference has it, and what they refuse."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bso_lib.layers import grid_sign, ste_sign
from bso_lib.optim import BSO, TBSO, constant, cosine, inverse_sqrt, stepwise
from bso_lib.reference import bso_step, tbso_step


def grid(*shape, dtype=torch.float64):
    return torch.nn.Parameter(torch.randint(2, shape).to(dtype) * 2 - 1)


def reference_bso(w, gradients, gamma, beta):
    m = np.zeros_like(w)
    for g in gradients:
        w, m = bso_step(w, m, g, gamma, beta)
    return w, m


def reference_tbso(w, gradients, gamma, beta1, beta2, time_steps, eps):
    m, v = np.zeros_like(w), np.zeros(time_steps)
    for k, g in enumerate(gradients):
        w, m, v = tbso_step(w, m, v, g, k % time_steps, gamma, beta1, beta2, eps)
    return w, m, v


# Eighths, and decays that are powers of two: every intermediate is exact, so ties are real ties and bits must agree.
exact_gradients = hnp.arrays(np.int64, st.tuples(st.integers(1, 12), st.just(6)), elements=st.integers(-16, 16)).map(
    lambda a: a / 8
)


@given(exact_gradients, st.sampled_from([0.0, 0.125, 0.5]), st.sampled_from([0.0, 0.5, 0.75]), st.integers(0, 63))
def test_bso_is_equations_11_and_12_to_the_bit(gradients, gamma, beta, start):
    w = torch.nn.Parameter(torch.tensor([1.0 if start >> i & 1 else -1.0 for i in range(6)], dtype=torch.float64))
    expected_w, expected_m = reference_bso(w.detach().numpy().copy(), gradients, gamma, beta)
    optimizer = BSO([w], gamma=gamma, beta=beta)
    for g in gradients:
        w.grad = torch.from_numpy(g)
        optimizer.step()
    assert np.array_equal(w.detach().numpy(), expected_w)
    assert np.array_equal(optimizer.state[w]["momentum"].numpy(), expected_m)


@given(exact_gradients, st.sampled_from([0.0, 0.25, 1.0]), st.integers(1, 3), st.integers(0, 63))
def test_tbso_is_equations_13_and_14_to_the_bit(gradients, gamma, time_steps, start):
    w = torch.nn.Parameter(torch.tensor([1.0 if start >> i & 1 else -1.0 for i in range(6)], dtype=torch.float64))
    # mean(G^2) over 6 values is rounded, alike in both: compare v to a relative 1e-12, weights exactly.
    expected_w, expected_m, expected_v = reference_tbso(
        w.detach().numpy().copy(), gradients, gamma, 0.5, 0.75, time_steps, 1e-20
    )
    optimizer = TBSO([w], time_steps, gamma=gamma, beta1=0.5, beta2=0.75)
    for k, g in enumerate(gradients):
        w.grad = torch.from_numpy(g)
        optimizer.step(t=k % time_steps)
    assert np.array_equal(optimizer.state[w]["momentum"].numpy(), expected_m)
    np.testing.assert_allclose(optimizer.state[w]["v"].numpy(), expected_v, rtol=1e-12)
    assert np.array_equal(w.detach().numpy(), expected_w)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_sequences_at_the_published_settings(dtype):
    w = grid(40, 30, dtype=dtype)
    gradients = (torch.randn(200, 40, 30) * 1e-6).double().numpy()
    expected_w, expected_m, expected_v = reference_tbso(
        w.detach().double().numpy().ravel(), gradients.reshape(200, -1), 5e-7, 0.999, 0.99999, 2, 1e-20
    )
    optimizer = TBSO([w], 2)
    for k, g in enumerate(gradients):
        w.grad = torch.from_numpy(g).to(dtype)
        optimizer.step(t=k % 2)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    np.testing.assert_allclose(optimizer.state[w]["v"].double().numpy(), expected_v, rtol=tolerance)
    clear = np.abs(expected_m) > 1e-4 * np.abs(expected_m).max()  # away from ties, which rounding decides
    assert clear.mean() > 0.99
    assert np.array_equal(w.detach().double().numpy().ravel()[clear], expected_w[clear])


any_gradient = hnp.arrays(
    np.float32, (5,), elements=st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=True)
)


@given(st.lists(any_gradient, min_size=1, max_size=5), st.sampled_from([0.0, 5e-7, 1.0, 1e30]), st.booleans())
def test_weights_stay_on_the_grid_whatever_the_gradient(gradients, gamma, temporal):
    w = grid(5, dtype=torch.float32)
    optimizer = TBSO([w], 2, gamma=gamma) if temporal else BSO([w], gamma=gamma)
    for k, g in enumerate(gradients):
        w.grad = torch.from_numpy(g.copy())
        optimizer.step(**({"t": k % 2} if temporal else {}))
        assert bool((w.abs() == 1).all())


def test_zero_gradient_flips_nothing():
    for make in (lambda p: BSO([p], gamma=0.0), lambda p: TBSO([p], 1, gamma=0.0)):
        w = grid(100)
        before, optimizer = w.detach().clone(), make(w)
        w.grad = torch.zeros_like(w)
        optimizer.step(**({"t": 0} if isinstance(optimizer, TBSO) else {}))
        assert torch.equal(w, before)


def test_exactly_at_the_threshold_keeps_and_just_above_flips():
    w = torch.nn.Parameter(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    above = np.nextafter(np.float32(0.5), np.float32(1))
    w.grad = torch.tensor([0.5, -0.5, above, -above])
    BSO([w], gamma=0.5, beta=0.0).step()
    assert w.tolist() == [1.0, -1.0, -1.0, 1.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("temporal", [False, True])
def test_a_gradient_that_is_not_finite_is_refused_and_nothing_changes(bad, temporal):
    first, second = grid(4), grid(3, 2)
    optimizer = TBSO([first, second], 2) if temporal else BSO([first, second])
    step = (lambda: optimizer.step(t=1)) if temporal else optimizer.step
    first.grad, second.grad = torch.randn(4).double(), torch.randn(3, 2).double()
    step()
    weights = [first.detach().clone(), second.detach().clone()]
    state = copy.deepcopy(optimizer.state_dict())
    second.grad[1, 1] = bad
    with pytest.raises(ValueError, match=r"shape \(3, 2\) is not finite"):
        step()
    assert torch.equal(first, weights[0])
    assert torch.equal(second, weights[1])
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            assert torch.equal(value, state["state"][index][name])


def test_bso_without_threshold_is_unclipped_latent_sgd_with_weight_decay_one():
    # l = -M: both see the gradient at the same +-1 weights, on a loss where the gradient depends on them.
    beta, inputs, targets = 0.9, torch.randn(64, 20).double(), torch.randn(64, 5).double()
    w = torch.nn.Parameter(torch.ones(5, 20, dtype=torch.float64))
    latent = torch.nn.Parameter(torch.zeros(5, 20, dtype=torch.float64))  # sign(0) = +1
    bso = BSO([w], gamma=0.0, beta=beta)
    sgd = torch.optim.SGD([latent], lr=1 - beta, weight_decay=1.0)
    flips = 0
    for step in range(200):
        batch = slice(step % 8 * 8, step % 8 * 8 + 8)
        before = w.detach().clone()
        w.grad = torch.autograd.grad((inputs[batch] @ w.t() - targets[batch]).square().mean(), w)[0]
        bso.step()
        sgd.zero_grad()
        (inputs[batch] @ ste_sign(latent, clip=False).t() - targets[batch]).square().mean().backward()
        sgd.step()
        assert torch.equal(w, grid_sign(latent))
        torch.testing.assert_close(latent.detach(), -bso.state[w]["momentum"], rtol=1e-12, atol=1e-15)
        flips += int((w != before).sum())
    assert flips > 50


def test_no_latent_weight_exists():
    w = grid(16, 9, dtype=torch.float32)
    for optimizer, allowed in ((BSO([w]), {"momentum"}), (TBSO([w], 3), {"momentum", "v"})):
        w.grad = torch.randn(16, 9)
        optimizer.step(**({"t": 2} if isinstance(optimizer, TBSO) else {}))
        state = optimizer.state[w]
        assert set(state) == allowed
        assert state["momentum"].shape == w.shape
        assert sum(v.numel() for v in state.values()) == w.numel() + (3 if "v" in state else 0)
        assert bool((w.abs() == 1).all())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": -1e-9}, "gamma=-1e-09: must be a finite number, at least 0"),
        ({"gamma": float("nan")}, "gamma=nan"),
        ({"beta": 1.0}, r"beta=1.0: must be in \[0, 1\)"),
        ({"beta": -0.1}, "beta=-0.1"),
    ],
)
def test_bso_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        BSO([grid(3)], **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_steps": 0}, "time_steps=0"),
        ({"time_steps": 1.5}, "time_steps=1.5"),
        ({"beta1": 1.0}, "beta1=1.0"),
        ({"beta2": 2.0}, "beta2=2.0"),
        ({"gamma": -1.0}, "gamma=-1.0"),
        ({"eps": -1.0}, "eps=-1.0"),
    ],
)
def test_tbso_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        TBSO([grid(3)], **{"time_steps": 2, **arguments})


@pytest.mark.parametrize("t", [-1, 2, 0.0, True, None])
def test_tbso_refuses_a_time_step_out_of_range(t):
    w = grid(3)
    w.grad = torch.ones(3).double()
    optimizer = TBSO([w], 2)
    with pytest.raises(ValueError, match="whole number from 0 to time_steps - 1 = 1"):
        optimizer.step(t=t)
    assert not optimizer.state


def test_a_parameter_of_whole_numbers_is_refused():
    with pytest.raises(ValueError, match=r"parameter 0 of shape \(3,\) is torch.int64: must be floating point"):
        BSO([torch.ones(3, dtype=torch.int64)])


@pytest.mark.parametrize("value", [0.0, 0.5, float("nan")])
def test_a_parameter_off_the_grid_is_refused(value):
    w = grid(3)
    w.data[1] = value
    with pytest.raises(ValueError, match="parameter 0 of shape"):
        BSO([w])
    optimizer = BSO([grid(2)])
    with pytest.raises(ValueError, match="1 values that are not exactly"):
        optimizer.add_param_group({"params": [w]})
    assert len(optimizer.param_groups) == 1


def test_param_groups_have_their_own_settings():
    slow, fast = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))
    optimizer = BSO([{"params": [slow], "gamma": 10.0}, {"params": [fast]}], gamma=0.0, beta=0.0)
    slow.grad = fast.grad = torch.ones(4)
    optimizer.step()
    assert slow.tolist() == [1.0] * 4
    assert fast.tolist() == [-1.0] * 4


@pytest.mark.parametrize("temporal", [False, True])
def test_state_dict_resumes_to_the_bit(temporal):
    w = grid(20, dtype=torch.float32)
    gradients = torch.randn(20, 20)

    def make(p):
        return TBSO([p], 2, gamma=0.3, beta1=0.9) if temporal else BSO([p], gamma=0.01, beta=0.9)

    def advance(optimizer, p, part):
        for k in part:
            p.grad = gradients[k].clone()
            optimizer.step(**({"t": k % 2} if temporal else {}))

    optimizer = make(w)
    advance(optimizer, w, range(10))
    twin = torch.nn.Parameter(w.detach().clone())
    resumed = make(twin)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    advance(optimizer, w, range(10, 20))
    advance(resumed, twin, range(10, 20))
    assert torch.equal(w, twin)
    for name, value in optimizer.state[w].items():
        assert torch.equal(value, resumed.state[twin][name])


@pytest.mark.parametrize("factor", [constant, inverse_sqrt, stepwise(2), cosine(9)])
def test_a_torch_scheduler_scales_gamma_and_one_minus_beta(factor):
    w = grid(50)
    gradients = torch.randn(8, 50).double()
    reference_w, m = w.detach().numpy().copy(), np.zeros(50)
    optimizer = BSO([w], gamma=0.02, beta=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for k, g in enumerate(gradients):
        reference_w, m = bso_step(reference_w, m, g.numpy(), factor(k) * 0.02, 1 - factor(k) * 0.1)
        w.grad = g
        optimizer.step()
        scheduler.step()
        np.testing.assert_allclose(optimizer.state[w]["momentum"].numpy(), m, rtol=1e-12)
        assert np.array_equal(w.detach().numpy(), reference_w)


def test_the_schedules_are_what_they_say():
    assert [inverse_sqrt(k) for k in (0, 3, 99)] == [1.0, 0.5, 0.1]
    assert [stepwise(50)(k) for k in (0, 49, 50)] == [1.0, 1.0, 0.1]
    assert [round(cosine(4)(k), 12) for k in (0, 2, 4, 5)] == [1.0, 0.5, 0.0, 0.0]
    assert {constant(k) for k in range(5)} == {1.0}


def test_parameters_without_gradient_are_left_alone_and_a_closure_is_called():
    w, idle = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = BSO([w, idle], gamma=0.0, beta=0.0)

    def closure():
        optimizer.zero_grad()
        loss = w.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert w.tolist() == [-1.0, -1.0]
    assert idle.tolist() == [1.0, 1.0]
    assert idle not in optimizer.state
