"""Online problems: convex, bounded, and with a comparator that no vertex beats."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bso_lib.regret.learners import BSOLearner, random_vertex
from bso_lib.regret.problems import (
    MAX_ENUMERATED,
    PROBLEMS,
    LinearProblem,
    Replay,
    Teacher,
    logistic,
    quadratic,
    vertices,
)

gradient_lists = st.integers(1, 5).flatmap(
    lambda d: st.lists(st.lists(st.floats(-1, 1), min_size=d, max_size=d), min_size=1, max_size=12)
)


@given(gradient_lists)
def test_no_vertex_beats_the_comparator_of_linear_losses(rows):
    gradients = torch.tensor(rows, dtype=torch.float64)[:, None]
    problem = Replay(gradients)
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
        patch.setattr("bso_lib.regret.problems.MAX_ENUMERATED", 0)
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


def test_a_replay_shows_what_the_adversary_did_and_hurts_a_deterministic_learner_as_much():
    written = Replay.of(PROBLEMS["adversary"](4, 2), BSOLearner(random_vertex(4, 2)), 60)
    assert written.gradients.shape == (60, 2, 4)
    learner = BSOLearner(random_vertex(4, 2))
    for k in range(60):
        w = learner.play().clone()
        written.reveal(k, learner.mean)
        assert torch.equal(written.gradient(w), w / 2)
        learner.update(written, k)
