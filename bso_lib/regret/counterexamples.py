"""Problems on which no rule without a coin can do well although nobody plots: one fixed convex loss."""

import torch

from bso_lib.regret.problems import OnlineProblem


class Pairs(OnlineProblem):
    """The same loss in every round: the mean over disjoint pairs (a, b) of weights of (w_a + w_b)^2 / 8.

    It is convex, its gradients are no longer than 1, and it is 0 wherever the two weights of each pair differ. A
    learner that treats equal coordinates equally never parts a pair that starts equal. Weights 0 and 1 are a pair, 2
    and 3, and so on. Raises ValueError for an odd dimension.
    """

    linear = False

    def __init__(self, dimension=2, seeds=1, seed=0):
        super().__init__(dimension, seeds, seed)
        if dimension % 2:
            raise ValueError(f"dimension={dimension}: must be even")
        self.rounds = 0

    def reveal(self, k, mean):
        """Count the round."""
        self.rounds += 1

    def _sums(self, w):
        return w.reshape(*w.shape[:-1], -1, 2).sum(-1)

    def loss(self, w):
        """Return f at ``w`` (..., d), as (...)."""
        return self._sums(w).square().mean(-1) / 8

    def gradient(self, w):
        """Return the gradient of f at ``w``, its shape."""
        return self._sums(w).repeat_interleave(2, -1) / (2 * self.dimension)

    def losses(self, points):
        """Return f at each of ``points`` (m, d), as (seeds, m)."""
        return self.loss(points).expand(self.seeds, -1)

    def hindsight(self):
        """Return (a best vertex, 0, 0): the weights of each pair differ."""
        best = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(self.seeds, self.dimension // 2)
        zero = torch.zeros(self.seeds, dtype=torch.float64)
        return best, zero, zero
