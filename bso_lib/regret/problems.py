"""Online problems with iterates in {-1, +1}^d and a known best fixed vertex, to test Theorem 4.1 on.

In round k the learner names a vertex, then f_k is shown. Every f_k is a convex function of one projection,
f_k(w) = phi(<x_k, w>, y_k), with a gradient of length at most 1: convex, bounded gradients, as the theorem asks.
All tensors have a leading dimension of seeds: independent problems that are played side by side.
"""

import math

import torch
import torch.nn.functional as F

MAX_ENUMERATED = 12  # dimensions up to which all vertices are tried


def vertices(dimension: int) -> torch.Tensor:
    """Return all vertices of the cube, (2^d, d). Raises ValueError beyond ``MAX_ENUMERATED`` dimensions."""
    if dimension > MAX_ENUMERATED:
        raise ValueError(f"dimension={dimension}: the vertices are enumerated up to {MAX_ENUMERATED} dimensions")
    bits = torch.arange(2**dimension)[:, None] >> torch.arange(dimension)
    return 1.0 - 2.0 * (bits & 1).double()


class OnlineProblem:
    """What all problems share: ``dimension`` d, ``seeds``, and their random numbers."""

    def __init__(self, dimension: int, seeds: int, seed: int = 0):
        if dimension < 1 or seeds < 1:
            raise ValueError(f"dimension={dimension}, seeds={seeds}: must both be at least 1")
        self.dimension, self.seeds = dimension, seeds
        self.generator = torch.Generator().manual_seed(seed)

    def _uniform(self, *shape):
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def _signs(self, *shape):
        return torch.where(self._uniform(*shape) < 0.5, -1.0, 1.0).double()


class LinearProblem(OnlineProblem):
    """f_k(w) = <x_k, w>, |x_k| = 1. The best fixed vertex is -sign(sum x_k), its loss -|sum x_k|_1: exact."""

    linear = True

    def __init__(self, dimension, seeds, seed=0):
        super().__init__(dimension, seeds, seed)
        self.x = None
        self.total = torch.zeros(seeds, dimension, dtype=torch.float64)

    def _direction(self, k, mean):
        """Return sqrt(d) x_k, (seeds, d), entries in [-1, 1]."""
        raise NotImplementedError

    def reveal(self, k: int, mean: torch.Tensor):
        """Fix f_k, k = 0, 1, ...; ``mean``: the expectation of the learner's vertex, (seeds, d)."""
        self.x = self._direction(k, mean) / math.sqrt(self.dimension)
        self.total += self.x

    def loss(self, w: torch.Tensor) -> torch.Tensor:
        """Return f_k at ``w`` (seeds, d), as (seeds,)."""
        return (self.x * w).sum(1)

    def gradient(self, w: torch.Tensor) -> torch.Tensor:
        """Return the gradient of f_k at ``w``, (seeds, d)."""
        return self.x

    def losses(self, points: torch.Tensor) -> torch.Tensor:
        """Return f_k at each of ``points`` (m, d), as (seeds, m)."""
        return self.x @ points.t()

    def hindsight(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (vertex, lower, upper): the best fixed vertex found for the rounds so far, and bounds, (seeds,) each.

        ``lower``: certified, no vertex has a smaller total loss. ``upper``: that of the vertex found. Here: equal.
        """
        value = -self.total.abs().sum(1)
        return torch.where(self.total > 0, -1.0, 1.0).double(), value, value


class IidLinear(LinearProblem):
    """Independent signs with means spread evenly over [-1, 1]: some coordinates are easy, some hopeless."""

    def __init__(self, dimension, seeds, seed=0):
        super().__init__(dimension, seeds, seed)
        self.means = 2 * self._uniform(seeds, dimension) - 1

    def _direction(self, k, mean):
        return torch.where(self._uniform(self.seeds, self.dimension) < (1 + self.means) / 2, 1.0, -1.0).double()


class Noise(IidLinear):
    """Fair coins: nothing to learn; the gradients' mean is 0."""

    def __init__(self, dimension, seeds, seed=0):
        super().__init__(dimension, seeds, seed)
        self.means = torch.zeros_like(self.means)


class DriftingLinear(IidLinear):
    """As :class:`IidLinear`, but each mean swings as a cosine of its own phase, with a period of ``PERIOD`` rounds."""

    PERIOD = 1000

    def __init__(self, dimension, seeds, seed=0):
        super().__init__(dimension, seeds, seed)
        self.phase = 2 * math.pi * self._uniform(seeds, dimension)

    def _direction(self, k, mean):
        self.means = torch.cos(2 * math.pi * k / self.PERIOD + self.phase)
        return super()._direction(k, mean)


class Alternating(LinearProblem):
    """Written down beforehand: x_0 of half length, then a fixed sign pattern times -1, +1, -1, ..."""

    def __init__(self, dimension, seeds, seed=0):
        super().__init__(dimension, seeds, seed)
        self.pattern = self._signs(seeds, dimension)

    def _direction(self, k, mean):
        return self.pattern * (0.5 if k == 0 else (-1) ** k)


class Adversary(LinearProblem):
    """Plays x_k = sign(E w_k)/sqrt(d): it knows the learner's method and past, but not the learner's next coin.

    A learner without a coin pays sqrt(d) in every round, and any fixed vertex or its opposite pays at most 0 in all:
    R(K) >= K sqrt(d).
    """

    def _direction(self, k, mean):
        return torch.where(mean < 0, -1.0, 1.0).double()


class Replay(LinearProblem):
    """Linear losses written down beforehand: ``gradients`` (rounds, seeds, d), of any length."""

    def __init__(self, gradients: torch.Tensor):
        super().__init__(gradients.shape[2], gradients.shape[1])
        self.gradients = gradients.double()

    @classmethod
    def of(cls, problem: LinearProblem, learner, rounds: int):
        """Return the problem that ``problem`` turned out to be when ``learner`` played it for ``rounds`` rounds."""
        gradients = []
        for k in range(rounds):
            problem.reveal(k, learner.mean)
            gradients.append(problem.x)
            learner.update(problem, k)
        return cls(torch.stack(gradients))

    def reveal(self, k, mean):
        """Show the next gradient, whatever the learner does."""
        self.x = self.gradients[k]
        self.total += self.x


class Teacher(OnlineProblem):
    """Examples drawn with replacement from a pool labelled, with noise, by a hidden vertex (``teacher``).

    ``loss_name`` "quadratic": (z - y)^2 / (4 sqrt(d)); "logistic": log(1 + exp(-y z)); z = <x, w>. The sum of all
    losses depends only on how often each example came, so the comparator costs the same after any number of rounds:
    all vertices are tried up to ``MAX_ENUMERATED`` dimensions, beyond there is a certified bound.
    """

    linear = False
    EXAMPLES_PER_DIMENSION = 16

    def __init__(self, dimension, seeds, seed=0, loss_name="quadratic"):
        super().__init__(dimension, seeds, seed)
        if loss_name not in ("quadratic", "logistic"):
            raise ValueError(f"loss_name={loss_name!r}: must be 'quadratic' or 'logistic'")
        self.loss_name = loss_name
        root = math.sqrt(dimension)
        self.pool = self._signs(seeds, self.EXAMPLES_PER_DIMENSION * dimension, dimension) / root
        self.teacher = self._signs(seeds, dimension)
        answers = torch.einsum("snd,sd->sn", self.pool, self.teacher)
        coins = self._uniform(*answers.shape)
        if loss_name == "quadratic":
            self.labels = (answers + 2 * coins - 1).clamp(-root, root)
        else:
            self.labels = torch.where(coins < torch.sigmoid(4 * answers), 1.0, -1.0).double()
        self.counts = torch.zeros_like(answers)
        self.x, self.y = None, None
        self.lowest = torch.zeros(seeds, dimension, dtype=torch.float64)  # where the bound is taken: any point will do

    def _value(self, z, y):
        if self.loss_name == "quadratic":
            return (z - y).square() / (4 * math.sqrt(self.dimension))
        return F.softplus(-y * z)

    def _slope(self, z, y):
        if self.loss_name == "quadratic":
            return (z - y) / (2 * math.sqrt(self.dimension))
        return -y * torch.sigmoid(-y * z)

    def reveal(self, k, mean):
        """Draw the example of round k."""
        n = self.counts.shape[1]
        rows = torch.arange(self.seeds)
        drawn = torch.randint(n, (self.seeds,), generator=self.generator)
        self.x, self.y = self.pool[rows, drawn], self.labels[rows, drawn]
        self.counts[rows, drawn] += 1

    def loss(self, w):
        """Return f_k at ``w`` (seeds, d), as (seeds,)."""
        return self._value((self.x * w).sum(1), self.y)

    def gradient(self, w):
        """Return the gradient of f_k at ``w``, (seeds, d)."""
        return self._slope((self.x * w).sum(1), self.y)[:, None] * self.x

    def losses(self, points):
        """Return f_k at each of ``points`` (m, d), as (seeds, m)."""
        return self._value(self.x @ points.t(), self.y[:, None])

    def total_loss(self, w: torch.Tensor, rows=slice(None)) -> torch.Tensor:
        """Return the sum of all losses so far at ``w`` (seeds, m, d), as (seeds, m), for the seeds in ``rows``."""
        z = torch.einsum("snd,smd->snm", self.pool[rows], w)
        return (self.counts[rows, :, None] * self._value(z, self.labels[rows, :, None])).sum(1)

    def hindsight(self):
        """Return (best vertex found, lower, upper); the bounds are equal where the vertices are enumerated.

        Beyond, the vertex is the better of the teacher and the rounded minimum u over the cube. The sum F of all losses
        is convex, so F(w) >= F(u) + <F'(u), w - u> >= F(u) - <F'(u), u> - |F'(u)|_1 for every w in the cube: a bound
        that is valid at any u, however far the descent that looks for u has come.
        """
        if self.dimension <= MAX_ENUMERATED:
            corners = vertices(self.dimension)
            losses = torch.cat([self.total_loss(corners[None], slice(s, s + 1)) for s in range(self.seeds)])
            value, found = losses.min(1)
            return corners[found], value, value
        self._minimise()
        rounded = torch.where(self.lowest < 0, -1.0, 1.0).double()
        both = torch.stack([self.teacher, rounded], 1)
        upper, found = self.total_loss(both).min(1)
        value, gradient = self._total(self.lowest)
        lower = value - (gradient * self.lowest).sum(1) - gradient.abs().sum(1)
        return both[torch.arange(self.seeds), found], lower, upper

    def _total(self, u):
        z = torch.einsum("snd,sd->sn", self.pool, u)
        slopes = self.counts * self._slope(z, self.labels)
        return (self.counts * self._value(z, self.labels)).sum(1), torch.einsum("sn,snd->sd", slopes, self.pool)

    def _minimise(self, steps=200):
        curvature = 1 / (2 * math.sqrt(self.dimension)) if self.loss_name == "quadratic" else 0.25
        rate = 1 / (curvature * self.counts.sum(1, keepdim=True))
        for _ in range(steps):
            self.lowest = (self.lowest - rate * self._total(self.lowest)[1]).clamp(-1, 1)


def quadratic(dimension: int, seeds: int, seed: int = 0) -> Teacher:
    """Return the least-squares problem with a hidden vertex."""
    return Teacher(dimension, seeds, seed, "quadratic")


def logistic(dimension: int, seeds: int, seed: int = 0) -> Teacher:
    """Return the logistic problem with a hidden vertex."""
    return Teacher(dimension, seeds, seed, "logistic")


PROBLEMS = {
    "i.i.d. linear": IidLinear,
    "pure noise": Noise,
    "drifting linear": DriftingLinear,
    "quadratic teacher": quadratic,
    "logistic teacher": logistic,
    "alternating": Alternating,
    "adversary": Adversary,
}
