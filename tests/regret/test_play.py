"""Regret: the counterexample, the violated inequality, what the rivals keep; the table and the fit."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from bso_lib.regret.learners import READINGS, BSOLearner, FollowTheLeader, random_vertex
from bso_lib.regret.play import LEARNERS, checkpoints, fit_slope, make_learner, play, regret_of
from bso_lib.regret.problems import Replay


def last(table):
    return table[table["round"] == table["round"].max()]


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
    table = play(Replay(torch.ones(400, 2, 4).double() / 2), BSOLearner(random_vertex(4, 2)), 400)
    assert last(table)["momentum"].tolist() == pytest.approx([0.5, 0.5])
    assert fit_slope(table, "right_hand_side").value > 0.9
    assert last(table)["regret"].max() <= 4  # and yet there is nothing to regret but the first rounds


def test_means_that_keep_a_distance_from_zero_leave_a_bounded_regret():
    gradients = torch.where(torch.rand(3000, 4, 8) < 0.8, 0.5, -0.5)
    table = play(Replay(gradients), BSOLearner(random_vertex(8, 4)), 3000)
    totals = table.pivot(index="round", columns="seed", values="regret")
    np.testing.assert_allclose(totals.loc[3000], totals[totals.index >= 1000].iloc[0])
    assert (totals.loc[3000] < 200).all()


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


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"problem 'chess': must be one of i.i.d. linear"):
        regret_of("chess", LEARNERS[0], 2, 1, 10)
    with pytest.raises(ValueError, match="learner 'Adam': must be one of BSO"):
        make_learner("Adam", 2, 1, 10)


def test_play_counts_what_happened():
    gradients = torch.tensor([[[1.0, 0.5]], [[1.0, -1.0]], [[-0.5, 1.0]]], dtype=torch.float64)
    learner = FollowTheLeader(torch.ones(1, 2, dtype=torch.float64))
    table = play(Replay(gradients), learner, 3)
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
