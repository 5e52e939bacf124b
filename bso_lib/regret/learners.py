"""Online learners over {-1, +1}^d: BSO and T-BSO, the very optimizers, and the textbook's rivals.

A learner has ``play()``, the vertex of this round (seeds, d); ``mean``, that vertex's expectation before its coins are
tossed (the vertex, if it tosses none); and ``update(problem, k)``, called once f_k, k = 0, 1, ..., is known.
"""

import math

import torch

from bso_lib.optim import BSO, TBSO, constant, inverse_sqrt, stepwise, threshold
from bso_lib.regret.problems import vertices
from bso_lib.regret.random_threshold import RandomThreshold


def decay(reading: str, k: int, gamma: float, step: float, every: int) -> dict[str, float]:
    """Return gamma_k, beta_k and the optimizer's factor lr in round k = 0, 1, ... under one reading of the decay.

    "1 - beta ~ 1/sqrt(k)": as Eq. 26 writes BSO, 1 - beta_k = step/sqrt(k+1). "beta ~ 1/sqrt(k)": as Eq. 30 writes
    T-BSO, beta_k = (1 - step)/sqrt(k+1). "constant": the paper's experiments. "steps": the published code, gamma and
    1 - beta times 0.1 after each ``every`` rounds. gamma_k = lr gamma falls as 1/sqrt(k+1) under the first two.
    Raises ValueError for another reading.
    """
    if reading == "beta ~ 1/sqrt(k)":
        return {"gamma": gamma * inverse_sqrt(k), "beta": (1 - step) * inverse_sqrt(k), "lr": 1.0}
    factors = {"1 - beta ~ 1/sqrt(k)": inverse_sqrt, "constant": constant, "steps": stepwise(every)}
    if reading not in factors:
        raise ValueError(f"reading={reading!r}: must be one of {', '.join(READINGS)}")
    return {"gamma": gamma, "beta": 1 - step, "lr": factors[reading](k)}


IN_WORDS = {  # the readings, for figures
    "1 - beta ~ 1/sqrt(k)": "longer and longer averages",
    "beta ~ 1/sqrt(k)": "hardly any average",
    "constant": "averages of 100 rounds",
    "steps": "averages ten times longer at each step",
}
READINGS = tuple(IN_WORDS)
# 1 - beta, at k = 1 where it changes with k: one round's gradient to begin with; a window of 100 rounds; the code's.
STEPS = {"1 - beta ~ 1/sqrt(k)": 1.0, "beta ~ 1/sqrt(k)": 0.1, "constant": 0.01, "steps": 0.01}


# Seeds of the learners' own random numbers, apart from those of the problems (0 unless given).
_START, _ROUNDING, _LOTTERY, _THRESHOLDS = 10**6, 2 * 10**6, 3 * 10**6, 4 * 10**6


def random_vertex(dimension: int, seeds: int) -> torch.Tensor:
    """Return a random vertex for each seed, (seeds, d), the same in every call."""
    bits = torch.randint(2, (seeds, dimension), generator=torch.Generator().manual_seed(_START))
    return 2.0 * bits.double() - 1.0


class SeedwiseTBSO(TBSO):
    """T-BSO for one parameter (seeds, d) that stands for a parameter per seed: v[t] is kept for each row.

    A list of parameters in :class:`TBSO` is the same, to the bit of every weight and momentum (tested), but too slow
    for long runs.
    """

    _mean_over = 1

    def _start(self, p, state):
        super()._start(p, state)
        state["v"] = torch.zeros(self.time_steps, len(p), 1, dtype=p.dtype)


class BSOLearner:
    """BSO, a step of :class:`bso_lib.optim.BSO` per round.

    ``gamma``: threshold relative to the gradient's root mean square 1/sqrt(d). ``reading``, ``every``: see
    :func:`decay`; or, in place of a reading, a function of (k, gamma) that returns what :func:`decay` does. ``gamma_k``
    and ``scaled_momentum()`` are the terms of the right-hand side of Eq. 15.
    """

    def __init__(self, start, reading=READINGS[0], gamma=0.1, every=1000):
        self.w = torch.nn.Parameter(start.clone())
        self.reading, self.every = reading, every
        self.gamma = gamma / math.sqrt(start.shape[1])
        self.optimizer = BSO([self.w], gamma=self.gamma, beta=0.0)
        self.beta_name = "beta"
        self._set(0)

    def _set(self, k):
        if callable(self.reading):
            values = dict(self.reading(k, self.gamma))
        else:
            values = decay(self.reading, k, self.gamma, STEPS[self.reading], self.every)
        values[self.beta_name] = values.pop("beta")
        self.optimizer.param_groups[0].update(values)
        self.gamma_k = values["lr"] * values["gamma"]

    @property
    def mean(self):
        return self.w.detach()

    def play(self):
        """Return the weights as they are, (seeds, d)."""
        return self.w.detach()

    def update(self, problem, k):
        """Step the optimizer with the gradient of f_k at the weights."""
        self._set(k)
        self.w.grad = problem.gradient(self.w.detach())
        self._step()

    def _step(self):
        self.optimizer.step()

    def gradient(self) -> torch.Tensor:
        """Return the gradient that entered M_k, (seeds, d)."""
        return self.w.grad

    def momentum(self) -> torch.Tensor:
        """Return M_k, (seeds, d)."""
        return self.optimizer.state[self.w]["momentum"]

    def scaled_momentum(self) -> torch.Tensor:
        """Return what Eq. 15 takes the largest entry of: M_k."""
        return self.momentum()

    def flip_threshold(self):
        """Return what w M_k had to exceed for a flip: gamma_k; for T-BSO gamma_k sqrt(v_k + eps), (seeds,)."""
        return self.gamma_k


class TBSOLearner(BSOLearner):
    """T-BSO with one time step. ``gamma`` is by itself relative to the gradient's root mean square (Eq. 14).

    v has no bias correction, so max |M / sqrt(v)| of Eq. 16 means something only once v has settled, after a few times
    1/(1 - beta2) rounds. The paper's beta2 = 0.99999 would take all of a run.
    """

    BETA2 = 0.9

    def __init__(self, start, reading=READINGS[0], gamma=0.1, every=1000):
        self.w = torch.nn.Parameter(start.clone())
        self.reading, self.every, self.gamma = reading, every, gamma
        self.optimizer = SeedwiseTBSO([self.w], time_steps=1, gamma=gamma, beta1=0.0, beta2=self.BETA2)
        self.beta_name = "beta1"
        self._set(0)

    def _step(self):
        self.optimizer.step(t=0)

    def scaled_momentum(self):
        """Return what Eq. 16 takes the largest entry of: M_k / sqrt(v_k + eps)."""
        return self.momentum() / self._threshold(1.0)

    def flip_threshold(self):
        return self._threshold(self.gamma_k)[:, 0]

    def _threshold(self, gamma):
        v = self.optimizer.state[self.w]["v"][0]
        return threshold(gamma, v, self.optimizer.param_groups[0]["eps"])


class FollowTheLeader:
    """-sign of the sum of all gradients: the best fixed vertex so far, if the losses are linear.

    It is BSO with gamma = 0 and 1 - beta_k = 1/k (tested).
    """

    def __init__(self, start):
        self.w, self.total = start.clone(), torch.zeros_like(start)

    @property
    def mean(self):
        return self.w

    def play(self):
        """Return the leader, (seeds, d)."""
        return self.w

    def update(self, problem, k):
        """Add the gradient of f_k; a coordinate whose sum is 0 stays."""
        self.total += problem.gradient(self.w)
        self.w = torch.where(self.total == 0, self.w, -self.total.sign())


class GradientDescent:
    """Online gradient descent on the cube, step 1/sqrt(k) per coordinate, played with rounding that keeps the mean.

    For linear losses E R(K) <= 3 sqrt(d K): diameter 2 sqrt(d), gradients of length at most 1, steps sqrt(d/k).
    """

    def __init__(self, start):
        self.mean = torch.zeros_like(start)
        self.generator = torch.Generator().manual_seed(_ROUNDING)

    def play(self):
        """Return a random vertex whose expectation is the point in the cube, (seeds, d)."""
        coins = torch.rand(self.mean.shape, generator=self.generator, dtype=torch.float64)
        return torch.where(coins < (1 + self.mean) / 2, 1.0, -1.0).double()

    def update(self, problem, k):
        """Step against the gradient of f_k at the point, and go back into the cube."""
        rate = math.sqrt(self.mean.shape[1] / (k + 1))
        self.mean = (self.mean - rate * problem.gradient(self.mean)).clamp(-1, 1)


class RandomThresholdLearner:
    """A step of ``bso_lib.regret.random_threshold.RandomThreshold`` per round, M_k the plain mean of all gradients.

    gamma_k = sqrt(2 / (d k)), and a random start. Then E R(K) <= sqrt(2 d K) for linear losses with gradients of length
    at most 1 (see :mod:`bso_lib.regret.guarantees`).
    """

    def __init__(self, start):
        self.w, self.mean = torch.nn.Parameter(start.clone()), torch.zeros_like(start)
        self.optimizer = RandomThreshold([self.w], gamma=0.0, beta=0.0, seed=_THRESHOLDS)

    def play(self):
        """Return the weights as they are, (seeds, d)."""
        return self.w.detach()

    def update(self, problem, k):
        """Step the optimizer with the gradient of f_k at the weights."""
        gamma = math.sqrt(2 / (self.w.shape[1] * (k + 1)))
        self.optimizer.param_groups[0].update(gamma=gamma, beta=1 - 1 / (k + 1))
        self.w.grad = problem.gradient(self.w.detach())
        self.optimizer.step()
        self.mean = (-self.optimizer.state[self.w]["momentum"] / gamma).clamp(-1, 1)


class Hedge:
    """Exponential weights over all 2^d vertices, whatever the losses, as long as they lie within 2 sqrt(d).

    The rate of round k is sqrt(8 log N / k) over that range, N = 2^d. Then E R(K) <= 2 d sqrt(2 log(2) K) + d
    sqrt(log(2)/2). Only for d up to ``MAX_ENUMERATED``.
    """

    def __init__(self, start):
        self.vertices = vertices(start.shape[1])
        self.total = torch.zeros(len(start), len(self.vertices), dtype=torch.float64)
        self.generator = torch.Generator().manual_seed(_LOTTERY)
        self._set(0)

    def _set(self, k):
        rate = math.sqrt(2 * math.log(2) / (k + 1))
        self.weights = torch.softmax(-rate * self.total, 1)
        self.mean = self.weights @ self.vertices

    def play(self):
        """Return a vertex drawn with the weights, (seeds, d)."""
        drawn = torch.multinomial(self.weights, 1, generator=self.generator)[:, 0]
        return self.vertices[drawn]

    def update(self, problem, k):
        """Add f_k of every vertex."""
        self.total += problem.losses(self.vertices)
        self._set(k + 1)
