"""Regret: the counterexample, the comparator that no vertex beats, and learners that are the optimizers."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bso_lib.optim import BSO, TBSO, inverse_sqrt
from bso_lib.regret import LEARNERS, checkpoints, fit_slope, make_learner, play, regret_of
from bso_lib.regret_learners import (
    READINGS,
    BSOLearner,
    FollowTheLeader,
    GradientDescent,
    Hedge,
    SeedwiseTBSO,
    TBSOLearner,
    decay,
    random_vertex,
)
from bso_lib.regret_problems import (
    MAX_ENUMERATED,
    PROBLEMS,
    LinearProblem,
    Teacher,
    logistic,
    quadratic,
    vertices,
)


class Given(LinearProblem):
    """Linear losses from a list of gradients (rounds, seeds, d)."""

    def __init__(self, gradients):
        super().__init__(gradients.shape[2], gradients.shape[1])
        self.gradients = gradients

    def _direction(self, k, mean):
        return self.gradients[k] * math.sqrt(self.dimension)


def last(table):
    return table[table["round"] == table["round"].max()]


# The theorem


@pytest.mark.parametrize("optimizer", ["BSO", "T-BSO"])
@pytest.mark.parametrize("reading", READINGS)
def test_the_adversary_forces_linear_regret_whatever_the_schedule(optimizer, reading):
    table = regret_of("adversary", f"{optimizer}, {reading}", dimension=16, seeds=2, rounds=5000)
    slope = fit_slope(table, "regret")
    assert abs(slope.value - 1) < 0.02
    assert (table["regret"] >= table["round"] * 4 - 1e-9).all()  # sqrt(d) in every round


def test_the_inequality_of_eq_15_fails_by_a_growing_factor():
    table = regret_of("adversary", "BSO, 1 - beta ~ 1/sqrt(k)", dimension=16, seeds=2, rounds=3000)
    factor = table["regret"] / table["right_hand_side"]
    assert factor.iloc[-1] > 100
    assert (last(table)["regret"] > 16 * last(table)["right_hand_side"]).all()  # nor does a factor d help
    assert abs(fit_slope(table, "right_hand_side").value - 0.5) < 0.03
    assert abs(fit_slope(table, "momentum").value + 0.5) < 0.05  # Eq. 27 holds here


def test_one_dimension_is_enough():
    table = regret_of("adversary", "BSO, 1 - beta ~ 1/sqrt(k)", dimension=1, seeds=2, rounds=2000)
    assert (table["regret"] >= table["round"]).all()
    assert (last(table)["regret"] > 10 * last(table)["right_hand_side"]).all()


def test_eq_27_fails_for_a_constant_gradient():
    table = play(Given(torch.ones(400, 2, 4).double() / 2), BSOLearner(random_vertex(4, 2)), 400)
    assert last(table)["momentum"].tolist() == pytest.approx([0.5, 0.5])
    assert fit_slope(table, "right_hand_side").value > 0.9
    assert last(table)["regret"].max() <= 4  # and yet there is nothing to regret but the first rounds


def test_products_of_gradient_and_momentum_come_apart():
    table = last(regret_of("adversary", "BSO, 1 - beta ~ 1/sqrt(k)", dimension=16, seeds=2, rounds=2000))
    np.testing.assert_allclose(table["gradient_product"], table["regret"])  # linear losses
    assert (table["gradient_product"] > 20 * table["momentum_product"]).all()
    assert (table["momentum_product"] <= 16 * table["right_hand_side"]).all()  # what Hoelder's inequality gives
    convex = last(regret_of("quadratic teacher", "BSO, constant", 6, 2, 300))
    assert (convex["gradient_product"] >= convex["regret"] - 1e-9).all()


@pytest.mark.parametrize("problem", ["adversary", "alternating", "i.i.d. linear"])
def test_the_rivals_keep_their_bounds(problem):
    rounds, d = 1500, 6
    descent = last(regret_of(problem, "gradient descent, rounded", d, 4, rounds))
    assert (descent["regret"] <= 3 * math.sqrt(d * rounds)).all()
    hedge = last(regret_of(problem, "Hedge", d, 4, rounds))
    assert (hedge["regret"] <= 2 * d * math.sqrt(2 * math.log(2) * rounds) + d * math.sqrt(math.log(2) / 2)).all()


# Problems


gradient_lists = st.integers(1, 5).flatmap(
    lambda d: st.lists(st.lists(st.floats(-1, 1), min_size=d, max_size=d), min_size=1, max_size=12)
)


@given(gradient_lists)
def test_no_vertex_beats_the_comparator_of_linear_losses(rows):
    gradients = torch.tensor(rows, dtype=torch.float64)[:, None]
    problem = Given(gradients)
    for k in range(len(gradients)):
        problem.reveal(k, None)
    vertex, lower, upper = problem.hindsight()
    losses = (gradients[:, 0] @ vertices(problem.dimension).t()).sum(0)
    assert abs(float(losses.min()) - float(lower)) < 1e-9
    assert abs(float((gradients[:, 0] @ vertex[0]).sum()) - float(upper)) < 1e-9


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([quadratic, logistic]), st.integers(1, 5))
def test_no_vertex_beats_the_comparator_of_teachers_enumerated_or_bounded(seed, rounds, kind, d):
    problem = kind(d, 2, seed)
    corners = vertices(d)
    summed = torch.zeros(2, len(corners), dtype=torch.float64)
    for k in range(rounds):
        problem.reveal(k, None)
        summed += problem.losses(corners)
    best = summed.min(1).values
    _, lower, upper = problem.hindsight()
    torch.testing.assert_close(lower, best)
    assert torch.equal(lower, upper)
    vertex, lower, upper = bounded(problem)
    assert (lower <= best + 1e-9).all()
    assert (best <= upper + 1e-9).all()
    at = (corners == vertex[:, None]).all(2).int().argmax(1)
    torch.testing.assert_close(upper, summed[[0, 1], at])


def bounded(problem):
    """Return ``problem.hindsight()`` without enumeration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bso_lib.regret_problems.MAX_ENUMERATED", 0)
        return problem.hindsight()


@pytest.mark.parametrize("kind", [quadratic, logistic])
def test_the_certified_bound_is_close_in_high_dimension(kind):
    problem = kind(MAX_ENUMERATED + 4, 3)
    for k in range(2000):
        problem.reveal(k, None)
    _, lower, upper = problem.hindsight()
    assert (lower <= upper).all()
    assert (upper - lower < 0.05 * upper).all()


@pytest.mark.parametrize("name", PROBLEMS)
def test_losses_are_convex_with_gradients_of_length_at_most_one(name):
    problem = PROBLEMS[name](5, 4)
    a, b = torch.rand(4, 5).double() * 2 - 1, torch.rand(4, 5).double() * 2 - 1
    for k in range(50):
        problem.reveal(k, a)
        assert (problem.gradient(a).norm(dim=1) <= 1 + 1e-9).all()
        above = problem.loss(a) + (problem.gradient(a) * (b - a)).sum(1)
        assert (problem.loss(b) >= above - 1e-12).all()
        point = a.clone().requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(problem.loss(point).sum(), point)[0], problem.gradient(a))
        every = problem.losses(vertices(5))
        torch.testing.assert_close(every[:, 7], problem.loss(vertices(5)[7].expand(4, 5)))
        assert (every.max(1).values - every.min(1).values <= 2 * math.sqrt(5) + 1e-9).all()


def test_problems_repeat_with_their_seed_and_differ_without():
    for make in PROBLEMS.values():
        drawn = []
        for seed in (3, 3, 4):
            problem = make(6, 2, seed)
            for k in range(5):
                problem.reveal(k, torch.ones(2, 6))
            drawn.append(problem.x)
        assert torch.equal(drawn[0], drawn[1])
        assert make is PROBLEMS["adversary"] or not torch.equal(drawn[0], drawn[2])


def test_wrong_problems_are_refused():
    with pytest.raises(ValueError, match="dimension=0, seeds=2: must both be at least 1"):
        LinearProblem(0, 2)
    with pytest.raises(ValueError, match="loss_name='cubic': must be 'quadratic' or 'logistic'"):
        Teacher(3, 1, loss_name="cubic")
    with pytest.raises(ValueError, match="dimension=13: the vertices are enumerated up to 12"):
        vertices(13)
    with pytest.raises(ValueError, match=r"problem 'chess': must be one of i.i.d. linear"):
        regret_of("chess", LEARNERS[0], 2, 1, 10)
    with pytest.raises(ValueError, match="learner 'Adam': must be one of BSO"):
        make_learner("Adam", 2, 1, 10)
    with pytest.raises(ValueError, match="reading='linear': must be one of"):
        decay("linear", 0, 0.1, 0.1, 10)


# Learners


@pytest.mark.parametrize("reading", READINGS)
def test_the_bso_learner_is_the_optimizer_with_a_parameter_per_seed(reading):
    seeds, d, rounds = 3, 7, 200
    gradients = torch.randn(rounds, seeds, d, dtype=torch.float64) / math.sqrt(d)
    start = random_vertex(d, seeds)
    learner = BSOLearner(start, reading, every=50)
    assert type(learner.optimizer) is BSO
    parameters = [torch.nn.Parameter(row.clone()) for row in start]
    optimizer = BSO(parameters)
    problem = Given(gradients)
    for k in range(rounds):
        problem.reveal(k, learner.mean)
        learner.update(problem, k)
        for p, gradient in zip(parameters, problem.x, strict=True):
            p.grad = gradient.clone()
        step = {"1 - beta ~ 1/sqrt(k)": 1.0, "beta ~ 1/sqrt(k)": 0.1}.get(reading, 0.01)
        optimizer.param_groups[0].update(decay(reading, k, 0.1 / math.sqrt(d), step, 50))
        optimizer.step()
        assert torch.equal(learner.play(), torch.stack([p.detach() for p in parameters]))
        assert torch.equal(learner.momentum(), torch.stack([optimizer.state[p]["momentum"] for p in parameters]))
    assert not torch.equal(learner.play(), start)


def test_seedwise_t_bso_is_t_bso_with_a_parameter_per_seed():
    seeds, d, rounds = 3, 8, 300
    start = random_vertex(d, seeds)
    rows = torch.nn.Parameter(start.clone())
    parameters = [torch.nn.Parameter(row.clone()) for row in start]
    fast = SeedwiseTBSO([rows], 2, gamma=0.3, beta1=0.8, beta2=0.95)
    reference = TBSO(parameters, 2, gamma=0.3, beta1=0.8, beta2=0.95)
    flips = 0
    for k in range(rounds):
        rows.grad = torch.randn(seeds, d, dtype=torch.float64)
        for p, gradient in zip(parameters, rows.grad, strict=True):
            p.grad = gradient.clone()
        for group in (fast.param_groups[0], reference.param_groups[0]):
            group["lr"] = inverse_sqrt(k)
        before = rows.detach().clone()
        fast.step(t=k % 2)
        reference.step(t=k % 2)
        flips += int((rows != before).sum())
        assert torch.equal(rows, torch.stack(parameters))
        states = [reference.state[p] for p in parameters]
        assert torch.equal(fast.state[rows]["momentum"], torch.stack([s["momentum"] for s in states]))
        torch.testing.assert_close(
            fast.state[rows]["v"][:, :, 0].t(), torch.stack([s["v"] for s in states]), rtol=1e-14, atol=0
        )
    assert 50 < flips < rounds * seeds * d / 2


def test_the_t_bso_learner_sets_beta1_and_measures_in_units_of_v():
    learner = TBSOLearner(random_vertex(5, 2), "1 - beta ~ 1/sqrt(k)")
    play(Given(torch.randn(20, 2, 5, dtype=torch.float64)), learner, 20)
    group = learner.optimizer.param_groups[0]
    assert group["lr"] == inverse_sqrt(19)
    assert group["beta1"] == 0.0
    v = learner.optimizer.state[learner.w]["v"][0]
    torch.testing.assert_close(learner.scaled_momentum(), learner.momentum() / v.sqrt())


def test_the_readings_of_the_decay():
    assert decay(READINGS[0], 24, 0.5, 0.2, 9) == {"gamma": 0.5, "beta": 0.8, "lr": 0.2}
    literal = decay(READINGS[1], 24, 0.5, 0.2, 9)
    assert literal == pytest.approx({"gamma": 0.1, "beta": 0.16, "lr": 1.0})
    assert decay("constant", 24, 0.5, 0.2, 9)["lr"] == 1
    assert decay("steps", 24, 0.5, 0.2, 9)["lr"] == pytest.approx(0.01)


def test_follow_the_leader_is_bso_without_threshold_and_a_plain_mean():
    start = random_vertex(6, 2)
    leader, w = FollowTheLeader(start), torch.nn.Parameter(start.clone())
    optimizer = BSO([w], gamma=0.0, beta=0.0)
    problem = Given(torch.randn(300, 2, 6, dtype=torch.float64))
    for k in range(300):
        problem.reveal(k, None)
        leader.update(problem, k)
        w.grad = problem.x.clone()
        optimizer.param_groups[0]["beta"] = 1 - 1 / (k + 1)
        optimizer.step()
        assert torch.equal(leader.play(), w)
        assert torch.equal(leader.play(), problem.hindsight()[0])


def test_random_learners_play_vertices_with_the_mean_they_state():
    problem = PROBLEMS["i.i.d. linear"](3, 2)
    for learner in (GradientDescent(random_vertex(3, 2)), Hedge(random_vertex(3, 2))):
        for k in range(40):
            problem.reveal(k, learner.mean)
            learner.update(problem, k)
        drawn = torch.stack([learner.play() for _ in range(4000)])
        assert (drawn.abs() == 1).all()
        torch.testing.assert_close(drawn.mean(0), learner.mean, atol=0.07, rtol=0)
    assert bool((Hedge(random_vertex(3, 2)).mean == 0).all())


def test_hedge_gives_each_vertex_its_exponential_weight():
    learner = Hedge(random_vertex(2, 1))
    problem = Given(torch.tensor([[[0.5, -0.25]], [[1.0, 0.0]]], dtype=torch.float64))
    for k in range(2):
        problem.reveal(k, learner.mean)
        learner.update(problem, k)
    losses = vertices(2) @ torch.tensor([1.5, -0.25], dtype=torch.float64)
    weights = torch.exp(-math.sqrt(8 * 2 * math.log(2) / 3) / (2 * math.sqrt(2)) * losses)
    torch.testing.assert_close(learner.weights[0], weights / weights.sum())


# The table and the fit


def test_play_counts_what_happened():
    gradients = torch.tensor([[[1.0, 0.5]], [[1.0, -1.0]], [[-0.5, 1.0]]], dtype=torch.float64)
    learner = FollowTheLeader(torch.ones(1, 2, dtype=torch.float64))
    table = play(Given(gradients), learner, 3)
    plays = [[1, 1], [-1, -1], [-1, 1]]  # the sums are (1, 0.5), then (2, -0.5)
    loss = sum(float(g[0] @ torch.tensor(w, dtype=torch.float64)) for g, w in zip(gradients, plays, strict=True))
    assert table["loss"].tolist() == [pytest.approx(loss)]
    assert table["regret"].tolist() == [pytest.approx(loss + 1.5 + 0.5)]


def test_checkpoints_are_whole_sorted_and_reach_the_end():
    found = checkpoints(5000)
    assert found[0] == 10
    assert found[-1] == 5000
    assert found == sorted(set(found))
    assert checkpoints(4) == [4]


def test_fitted_slopes():
    generator = np.random.default_rng(1)
    rounds = np.unique(np.geomspace(10, 10000, 25).astype(int))
    rows = [
        {"seed": seed, "round": r, "exact": r**0.75, "noisy": r**0.5 * scale, "negative": -r, "mixed": r * sign}
        for seed in range(12)
        for scale, sign in [(generator.uniform(0.5, 1.5), 1 if seed % 2 else -1)]
        for r in rounds
    ]
    table = pd.DataFrame(rows)
    exact = fit_slope(table, "exact")
    np.testing.assert_allclose([exact.value, exact.low, exact.high], 0.75)
    assert str(exact) == "0.75 [0.75, 0.75]"
    single = fit_slope(table[table["seed"] == 3], "exact")
    assert str(single) == "0.75 (one seed)"
    assert math.isnan(single.low)
    noisy = fit_slope(table, "noisy")
    np.testing.assert_allclose(noisy.value, 0.5)
    for column in ("negative", "mixed"):
        assert str(fit_slope(table, column)) == "not positive"
    table["jittered"] = table["round"] ** 0.5 * generator.lognormal(0, 0.5, len(table))
    jittered = fit_slope(table, "jittered")
    assert jittered.low < 0.5 < jittered.high
    assert jittered == fit_slope(table, "jittered")
