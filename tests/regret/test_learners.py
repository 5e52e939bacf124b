"""Learners: BSO and T-BSO are the optimizers, the rivals are what they say."""

import math

import pytest
import torch

from bso_lib.optim import BSO, TBSO, inverse_sqrt
from bso_lib.regret.learners import (
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
from bso_lib.regret.play import play
from bso_lib.regret.problems import PROBLEMS, Replay, vertices


@pytest.mark.parametrize("reading", READINGS)
def test_the_bso_learner_is_the_optimizer_with_a_parameter_per_seed(reading):
    seeds, d, rounds = 3, 7, 200
    gradients = torch.randn(rounds, seeds, d, dtype=torch.float64) / math.sqrt(d)
    start = random_vertex(d, seeds)
    learner = BSOLearner(start, reading, every=50)
    assert type(learner.optimizer) is BSO
    parameters = [torch.nn.Parameter(row.clone()) for row in start]
    optimizer = BSO(parameters)
    problem = Replay(gradients)
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
    play(Replay(torch.randn(20, 2, 5, dtype=torch.float64)), learner, 20)
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
    with pytest.raises(ValueError, match="reading='linear': must be one of"):
        decay("linear", 0, 0.1, 0.1, 10)


def test_follow_the_leader_is_bso_without_threshold_and_a_plain_mean():
    start = random_vertex(6, 2)
    leader, w = FollowTheLeader(start), torch.nn.Parameter(start.clone())
    optimizer = BSO([w], gamma=0.0, beta=0.0)
    problem = Replay(torch.randn(300, 2, 6, dtype=torch.float64))
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
    problem = Replay(torch.tensor([[[0.5, -0.25]], [[1.0, 0.0]]], dtype=torch.float64))
    for k in range(2):
        problem.reveal(k, learner.mean)
        learner.update(problem, k)
    losses = vertices(2) @ torch.tensor([1.5, -0.25], dtype=torch.float64)
    weights = torch.exp(-math.sqrt(8 * 2 * math.log(2) / 3) / (2 * math.sqrt(2)) * losses)
    torch.testing.assert_close(learner.weights[0], weights / weights.sum())
