"""Theorems A, B and C and the steps of their proofs, on random problems; the proofs stand in notebooks 08 and 15."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bso_lib.optim import BSO, TBSO
from bso_lib.regret.guarantees import (
    longer_mean,
    longer_mean_bound,
    lower_bound,
    plain_mean,
    plain_mean_bound,
    pseudo_regret,
    random_threshold_bound,
)
from bso_lib.regret.learners import (
    READINGS,
    STEPS,
    BSOLearner,
    RandomThresholdLearner,
    TBSOLearner,
    decay,
    random_vertex,
)
from bso_lib.regret.play import play, regret_of
from bso_lib.regret.problems import PROBLEMS, IidLinear, Replay, quadratic, vertices

OBLIVIOUS = ("i.i.d. linear", "pure noise", "drifting linear", "alternating", "adversary")  # its mean has no coin in it
seeds_of_problems = st.integers(0, 2**31)
dimensions = st.integers(1, 64)


def schedule(name, generator):
    """Return round k's gamma, beta and lr as a function of (k, gamma); "any" draws them anew in every round."""
    if name in READINGS:
        return lambda k, gamma: decay(name, k, gamma, STEPS[name], 5)
    if name != "any":
        return {"plain mean": plain_mean, "longer mean": longer_mean}[name]

    def drawn(k, gamma):
        a, b = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        return {"gamma": 2 * gamma * a, "beta": b, "lr": 1.0}

    return drawn


SCHEDULES = (*READINGS, "plain mean", "longer mean", "any")


def draw_loss(kind, d, generator):
    """Return a random convex function of w (..., d) and its gradient."""

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / math.sqrt(d)

    x = normal(d)
    if kind == "linear":
        return lambda w: w @ x, lambda w: x
    if kind == "logistic":
        return lambda w: F.softplus(w @ x), lambda w: torch.sigmoid(w @ x) * x
    rows = normal(1 + int(torch.randint(d, (1,), generator=generator)), d)
    return lambda w: (w @ rows.T).square().sum(-1) / 2 + w @ x, lambda w: rows.T @ (rows @ w) + x


def game(kind, optimizer, name, d, rounds, gamma, seed):
    """Play random losses of ``kind``; return them, and as (rounds, d) W_k, W_{k+1}, g_k, M_k, and the thresholds."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.nn.Parameter(torch.randint(2, (d,), generator=generator).double() * 2 - 1)
    beta = "beta" if optimizer == "BSO" else "beta1"
    flipper = BSO([w], gamma=gamma, beta=0.0) if optimizer == "BSO" else TBSO([w], 1, gamma, 0.0, 0.9)
    at, losses, plays, nexts, gradients, momenta, thresholds = schedule(name, generator), [], [], [], [], [], []
    for k in range(rounds):
        f, gradient = draw_loss(kind, d, generator)
        losses.append(f)
        plays.append(w.detach().clone())
        w.grad = gradient(w.detach()).clone()
        gradients.append(w.grad.clone())
        values = at(k, gamma)
        flipper.param_groups[0].update({"gamma": values["gamma"], beta: values["beta"], "lr": values["lr"]})
        flipper.step() if optimizer == "BSO" else flipper.step(t=0)
        state = flipper.state[w]
        nexts.append(w.detach().clone())
        momenta.append(state["momentum"].clone())
        scale = 1.0 if optimizer == "BSO" else (state["v"][0] + 1e-20).sqrt().item()
        thresholds.append(values["lr"] * values["gamma"] * scale)
    return losses, *map(torch.stack, (plays, nexts, gradients, momenta)), torch.tensor(thresholds, dtype=torch.float64)


games = given(
    kind=st.sampled_from(["linear", "quadratic", "logistic"]), optimizer=st.sampled_from(["BSO", "T-BSO"]),
    name=st.sampled_from(SCHEDULES), d=dimensions, rounds=st.integers(1, 12),
    gamma=st.sampled_from([0.0, 0.003, 0.03, 0.3, 3.0]), seed=seeds_of_problems,
)  # fmt: skip


@settings(max_examples=1000)
@games
def test_flip_lemma_after_a_step_no_weight_agrees_with_its_momentum_beyond_the_threshold(**options):
    _, _, nexts, _, momenta, thresholds = game(**options)
    assert (nexts * momenta <= thresholds[:, None] * (1 + 1e-12)).all()


@settings(max_examples=1000)
@games
def test_theorem_a_the_regret_is_at_most_how_badly_the_momentum_predicts(**options):
    losses, plays, _, gradients, momenta, thresholds = game(**options)
    d = plays.shape[1]
    random = torch.randint(2, (8, d), generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0
    worst = torch.where(gradients.sum(0) > 0, -1.0, 1.0)[None]  # the vertex that makes the linear regret largest
    for best in torch.cat([worst, random.double(), vertices(d) if d <= 5 else worst]).double():
        regret = sum(float(f(w) - f(best)) for f, w in zip(losses, plays, strict=True))
        linear = float((gradients * (plays - best)).sum())
        bound = float(gradients[0] @ (plays[0] - best))
        bound += float(2 * d * thresholds[:-1].sum() + 2 * (gradients[1:] - momenta[:-1]).abs().sum())
        assert regret <= linear + 1e-9
        assert linear <= bound + 1e-9


@pytest.mark.parametrize("learner", [BSOLearner, TBSOLearner])
@pytest.mark.parametrize("name", ["i.i.d. linear", "adversary", "quadratic teacher"])
def test_play_has_both_sides_of_theorem_a(learner, name):
    """Round by round, from what the learner shows."""
    problem, player, rounds = PROBLEMS[name](6, 3), learner(random_vertex(6, 3)), 40
    table = play(PROBLEMS[name](6, 3), learner(random_vertex(6, 3)), rounds, points=5)
    thresholds = tracking = before = 0.0
    for k in range(rounds):
        w, momentum = player.play().clone(), player.momentum().clone() if k else None
        problem.reveal(k, player.mean)
        player.update(problem, k)
        if k == 0:
            gradient, start = player.gradient().clone(), w
        else:
            thresholds = thresholds + 2 * 6 * before
            tracking = tracking + 2 * (player.gradient() - momentum).abs().sum(1)
        before = player.flip_threshold()
    best = problem.hindsight()[0]
    first = (gradient * (start - best)).sum(1)
    last = table[table["round"] == rounds]
    torch.testing.assert_close(torch.tensor(last["first"].to_numpy()), first)
    torch.testing.assert_close(torch.tensor(last["tracking"].to_numpy()), tracking)
    torch.testing.assert_close(torch.tensor(last["thresholds"].to_numpy()), thresholds * torch.ones(3).double())
    assert (table["regret"] <= table["tracking_bound"] + 1e-9).all()
    parts = table["first"] + table["thresholds"] + table["tracking"]
    torch.testing.assert_close(torch.tensor(parts.to_numpy()), torch.tensor(table["tracking_bound"].to_numpy()))


def test_play_bounds_the_regret_in_dimensions_that_are_not_enumerated():
    table = play(quadratic(20, 2), TBSOLearner(random_vertex(20, 2)), 200)
    assert (table["regret_low"] <= table["tracking_bound"]).all()


@settings(max_examples=1000)
@given(seed=seeds_of_problems, d=dimensions, rounds=st.integers(1, 25), name=st.sampled_from(SCHEDULES),
       gamma=st.sampled_from([0.0, 0.1, 1.0, 3.0]))  # fmt: skip
def test_theorem_b_round_by_round_what_is_wrong_costs_at_most_the_error_of_the_mean(seed, d, rounds, name, gamma):
    learner = BSOLearner(random_vertex(d, 2), schedule(name, torch.Generator().manual_seed(seed)), gamma=gamma)
    table = pseudo_regret(IidLinear(d, 2, seed), learner, rounds, points=4)
    assert (table["pseudo_regret"] <= table["mean_error"] + 1e-9).all()


@pytest.mark.parametrize(("reading", "bound"), [(plain_mean, plain_mean_bound), (longer_mean, longer_mean_bound)])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_theorem_b_in_the_mean_over_a_thousand_problems(reading, bound, gamma):
    d, many, rounds = 8, 1000, 250
    table = pseudo_regret(IidLinear(d, many), BSOLearner(random_vertex(d, many), reading, gamma=gamma), rounds, 6)
    drawn = play(IidLinear(d, many), BSOLearner(random_vertex(d, many), reading, gamma=gamma), rounds, 6)
    for own, column, more in ((table, "pseudo_regret", 0.0), (table, "mean_error", 0.0), (drawn, "regret", 1.0)):
        found = own.groupby("round")[column].agg(["mean", "sem"])
        allowed = bound(found.index.to_numpy(), d, gamma) + more * (d * found.index.to_numpy()) ** 0.5
        assert (found["mean"] + 1.96 * found["sem"] <= allowed).all()


def test_theorem_b_the_averages_are_unbiased_with_the_variance_that_is_claimed():
    total, variance = 0.0, 0.0
    for k in range(1, 100_001):
        x = 1 / math.sqrt(k)
        total, variance = (1 - x) * total + x, (1 - x) ** 2 * variance + x * x
        assert abs(total - 1) < 1e-12
        assert variance <= x * (1 + 1e-12)


def sequence(kind, d, rounds, seed):
    """Return gradients (rounds, 1, d), each of length at most 1, that do not depend on any coin."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(rounds, d, generator=generator, dtype=torch.float64)
    if kind == "constant":
        normal = normal[:1].expand(rounds, -1)
    elif kind == "turning":
        normal = normal[:1] * torch.tensor([(-1.0) ** k for k in range(rounds)]).double()[:, None]
    elif kind == "sparse":
        normal = torch.eye(d).double()[torch.randint(d, (rounds,), generator=generator)]
    lengths = torch.rand(rounds, 1, generator=generator, dtype=torch.float64) if seed % 2 else 1.0
    c = lengths * normal / normal.norm(dim=1, keepdim=True)
    if kind == "against the mean":  # computed beforehand: the learner's mean depends on past losses only
        total = torch.zeros(d, dtype=torch.float64)
        for k in range(rounds):
            mean = (-total / math.sqrt(2 * k / d)).clamp(-1, 1) if k else total
            c[k] = torch.where(mean < 0, -1.0, 1.0).double() / math.sqrt(d)
            total += c[k]
    return c[:, None]


@settings(max_examples=1000)
@given(
    kind=st.sampled_from(["any", "constant", "turning", "sparse", "against the mean"]),
    d=dimensions, rounds=st.integers(1, 40), seed=seeds_of_problems,
)  # fmt: skip
def test_theorem_c_the_mean_of_the_random_threshold_keeps_its_bound_step_by_step(kind, d, rounds, seed):
    c = sequence(kind, d, rounds, seed)
    problem, learner = Replay(c), RandomThresholdLearner(random_vertex(d, 1))
    strength = [math.sqrt(2 * max(k, 1) / d) for k in range(rounds)]  # s_1 = s_2, s_3, ..., as k counts from 0
    strength.append(strength[-1])
    total, paid = torch.zeros(d, dtype=torch.float64), 0.0
    for k in range(rounds):
        x = learner.mean[0].clone()
        leader = float(total @ x + strength[k] / 2 * x @ x)
        slope = total + strength[k] * x
        assert float(slope @ x + slope.abs().sum()) <= 1e-9  # x is the minimum over the cube
        problem.reveal(k, learner.mean)
        learner.update(problem, k)
        total, paid = total + c[k, 0], paid + float(c[k, 0] @ x)
        # The next leader, for the analysis of the last round with the same strength.
        following = (-total / strength[k + 1]).clamp(-1, 1)
        if k + 1 < rounds:
            torch.testing.assert_close(following, learner.mean[0])
        following = float(total @ following + strength[k + 1] / 2 * following @ following)
        assert float(c[k, 0] @ x) <= following - leader + float(c[k, 0] @ c[k, 0]) / (2 * strength[k]) + 1e-9
    regret = paid + float(total.abs().sum())
    assert regret <= max(random_threshold_bound(rounds - 1, d), math.sqrt(d)) + 1e-9
    assert regret <= random_threshold_bound(rounds, d) + 1e-9


@pytest.mark.parametrize("name", OBLIVIOUS)
@pytest.mark.parametrize("d", [1, 16, 64])
def test_theorem_c_as_the_coins_fall(name, d):
    rounds, many = 600, 64
    table = play(PROBLEMS[name](d, many), RandomThresholdLearner(random_vertex(d, many)), rounds, points=6)
    found = table.groupby("round")["regret_tossed"].agg(["mean", "sem"])
    assert (found["mean"] + 1.96 * found["sem"] <= random_threshold_bound(found.index.to_numpy(), d)).all()
    assert (table["regret"] <= random_threshold_bound(table["round"], d) + 1e-9).all()


def test_theorem_c_the_weights_have_the_mean_that_is_stated():
    many, d = 20_000, 5
    c = sequence("any", d, 4, 0).expand(-1, many, -1)
    problem, learner = Replay(c), RandomThresholdLearner(random_vertex(d, many))
    for k in range(4):
        assert (learner.play().mean(0) - learner.mean[0]).abs().max() < 5 / math.sqrt(many)
        problem.reveal(k, learner.mean)
        learner.update(problem, k)
    assert (learner.play().abs() == 1).all()


@pytest.mark.parametrize("learner", ["BSO, 1 - beta ~ 1/sqrt(k)", "follow the leader", "random threshold"])
def test_random_signs_cost_every_learner_the_lower_bound(learner):
    d, rounds = 8, 200
    found = regret_of("pure noise", learner, d, 1000, rounds).groupby("round")["regret"].agg(["mean", "sem"])
    assert (found["mean"] - 1.96 * found["sem"] >= lower_bound(found.index.to_numpy(), d)).all()
    assert lower_bound(rounds, d) == pytest.approx(random_threshold_bound(rounds, d) / 2)
    for many in range(1, 60):  # Khintchine's inequality with Szarek's constant, exactly
        mean = sum(math.comb(many, i) * abs(many - 2 * i) for i in range(many + 1)) / 2**many
        assert mean >= math.sqrt(many / 2) - 1e-12
