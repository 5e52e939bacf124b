"""The fixed convex loss on which no rule without a coin can do well, and the coin that BSO is given."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bso_lib.optim import BSO
from bso_lib.regret.counterexamples import Pairs
from bso_lib.regret.learners import READINGS, BSOLearner, FollowTheLeader, TBSOLearner, random_vertex
from bso_lib.regret.play import play
from bso_lib.regret.problems import vertices
from bso_lib.regret.random_threshold import RandomThreshold


@given(st.sampled_from([BSOLearner, TBSOLearner]), st.sampled_from(READINGS), st.floats(0, 3), st.integers(1, 60))
def test_a_pair_that_starts_equal_costs_half_a_unit_in_every_round(learner, reading, gamma, rounds):
    start = torch.ones(1, 2, dtype=torch.float64)
    table = play(Pairs(), learner(start, reading, gamma=gamma, every=20), rounds, points=3)
    assert (table["regret"] == table["round"] / 2).all()


@pytest.mark.parametrize("learner", [BSOLearner, TBSOLearner, FollowTheLeader])
def test_of_many_pairs_those_that_start_equal_stay_equal(learner):
    start = random_vertex(64, 20)
    equal = (start.reshape(20, 32, 2).sum(2) != 0).double().mean(1)
    table = play(Pairs(64, 20), learner(start), 300, points=2)
    last = table[table["round"] == 300].sort_values("seed")
    torch.testing.assert_close(torch.tensor((last["regret"] / 300).to_numpy()), equal / 2)


def test_the_loss_is_convex_with_short_gradients_and_its_minimum_known():
    problem = Pairs(6, 3)
    a, b = torch.rand(3, 6).double() * 2 - 1, torch.rand(3, 6).double() * 2 - 1
    assert (problem.loss(b) >= problem.loss(a) + (problem.gradient(a) * (b - a)).sum(1) - 1e-12).all()
    point = a.clone().requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(problem.loss(point).sum(), point)[0], problem.gradient(a))
    assert float(problem.gradient(vertices(6)).norm(dim=1).max()) <= 1
    assert problem.losses(vertices(6)).shape == (3, 64)
    best, lower, upper = problem.hindsight()
    assert (problem.loss(best) == 0).all()
    assert (lower == upper).all()
    with pytest.raises(ValueError, match="dimension=3: must be even"):
        Pairs(3)


def test_without_a_threshold_there_is_no_coin():
    start = random_vertex(9, 2)
    plain, coin = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = BSO([plain], gamma=0.0, beta=0.7), RandomThreshold([coin], gamma=0.0, beta=0.7)
    for _ in range(50):
        plain.grad = torch.randn(2, 9, dtype=torch.float64)
        coin.grad = plain.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        assert torch.equal(plain, coin)
    assert not torch.equal(plain, start)


def test_the_coins_fall_as_their_seed_says_and_the_mean_is_that_of_the_vote():
    def drawn(seed):
        w = torch.nn.Parameter(torch.ones(40_000))
        optimizer = RandomThreshold([w], gamma=0.5, beta=0.0, seed=seed)
        w.grad = torch.linspace(-1, 1, 4).repeat(10_000)
        assert optimizer.step(lambda: torch.tensor(3.0)) == 3.0
        return w.detach()

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    mean = drawn(1).reshape(-1, 4).mean(0)
    torch.testing.assert_close(mean, torch.tensor([1.0, 2 / 3, -2 / 3, -1.0]), atol=0.03, rtol=0)
