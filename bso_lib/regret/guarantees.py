"""What can be proven of BSO, in numbers: the right-hand sides of notebook 15, and the regret they bound.

G = 1 throughout: gradients of length at most 1. The proofs stand in the notebooks 08 and 15.

A   any convex losses                 the column ``tracking_bound`` of :func:`bso_lib.regret.play.play`
B   i.i.d. linear losses              :func:`plain_mean_bound`, :func:`longer_mean_bound`, with :func:`pseudo_regret`
C   linear losses, random threshold   :func:`random_threshold_bound`; no learner can beat :func:`lower_bound`
"""

import math

import pandas as pd
import torch

from bso_lib.regret.play import by_seed, checkpoints
from bso_lib.regret.problems import IidLinear


def plain_mean(k: int, gamma: float) -> dict[str, float]:
    """Return round k's settings (k = 0, 1, ...) with which M_k is the mean of all gradients: 1 - beta_k = 1/(k+1)."""
    return {"gamma": gamma / math.sqrt(k + 1), "beta": 1 - 1 / (k + 1), "lr": 1.0}


def longer_mean(k: int, gamma: float) -> dict[str, float]:
    """Return the settings with 1 - beta_k = 1/sqrt(k+1), and the largest gamma_k that leaves the rate: (k+1)^(-1/4)."""
    return {"gamma": gamma * (k + 1) ** -0.25, "beta": 1 - 1 / math.sqrt(k + 1), "lr": 1.0}


def plain_mean_bound(rounds, dimension: int, gamma: float):
    """Return the bound of theorem B on the expected pseudo-regret, gamma_k = gamma / sqrt(d k), 1 - beta_k = 1/k."""
    return 2 * dimension**0.5 + 4 * (1 + gamma) * (dimension * rounds) ** 0.5


def longer_mean_bound(rounds, dimension: int, gamma: float):
    """Return the same for 1 - beta_k = 1/sqrt(k), and gamma_k at most gamma d^(-1/2) k^(-1/4)."""
    return 2 * dimension**0.5 + 8 / 3 * (1 + gamma) * dimension**0.5 * rounds**0.75


def random_threshold_bound(rounds, dimension: int):
    """Return the bound of theorem C on the expected regret of the random threshold: sqrt(2 d K)."""
    return (2 * dimension * rounds) ** 0.5


def lower_bound(rounds, dimension: int):
    """Return what random signs cost any learner in expectation: sqrt(d K / 2)."""
    return (dimension * rounds / 2) ** 0.5


@torch.no_grad()
def pseudo_regret(problem: IidLinear, learner, rounds: int, points: int = 25) -> pd.DataFrame:
    """Play BSO on i.i.d. linear losses of mean mu; return a row per seed and checkpoint with both sides of theorem B.

    ``pseudo_regret``   sum over k of <mu, w_k - w*>, w* = -sign(mu)
    ``mean_error``      2 sum over k of (|mu - M_{k-1}|_1 + d gamma_{k-1}), with M_0 = 0 and gamma_0 = 0: never less
    """
    mean = problem.means / math.sqrt(problem.dimension)
    paid, error, rows, stops = 0.0, 0.0, [], set(checkpoints(rounds, points))
    momentum, gamma = torch.zeros_like(mean), 0.0
    for k in range(rounds):
        paid = paid + (mean * learner.play()).sum(1) + mean.abs().sum(1)
        error = error + 2 * ((mean - momentum).abs().sum(1) + problem.dimension * gamma)
        problem.reveal(k, learner.mean)
        learner.update(problem, k)
        momentum, gamma = learner.momentum(), learner.gamma_k
        if k + 1 in stops:
            rows.append(by_seed({"round": k + 1, "pseudo_regret": paid, "mean_error": error}, problem.seeds))
    return pd.concat(rows, ignore_index=True)
