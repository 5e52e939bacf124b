"""Regret, measured: play a learner against a problem, beside the right-hand sides of Eq. 15 and 16, and fit slopes.

The regret after K rounds, the claim on BSO and the claim on T-BSO:

    R(K) = sum_k f_k(w_k) - min over w in {-1, +1}^d of sum_k f_k(w)
    R(K) <= 2 sum_k gamma_k + 2 sum_k max |M_k|                            (Eq. 15)
    R(K) <= 2 sum_k gamma_k + 2 sum_k max |M_k / sqrt(v_k + eps)|          (Eq. 16)

That is how the right-hand sides stand in the paper: without a factor for the dimension. Beside them: a bound that
holds.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from bso_lib.regret.learners import (
    READINGS,
    BSOLearner,
    FollowTheLeader,
    GradientDescent,
    Hedge,
    RandomThresholdLearner,
    TBSOLearner,
    random_vertex,
)
from bso_lib.regret.problems import PROBLEMS

OPTIMIZERS = {"BSO": BSOLearner, "T-BSO": TBSOLearner}
RIVALS = {
    "follow the leader": FollowTheLeader,
    "random threshold": RandomThresholdLearner,
    "gradient descent, rounded": GradientDescent,
    "Hedge": Hedge,
}
LEARNERS = tuple(f"{name}, {reading}" for name in OPTIMIZERS for reading in READINGS) + tuple(RIVALS)


def make_learner(name: str, dimension: int, seeds: int, rounds: int):
    """Return the learner ``name`` of :data:`LEARNERS`; under the reading "steps" there are four steps in ``rounds``.

    Raises ValueError for another name.
    """
    if name not in LEARNERS:
        raise ValueError(f"learner {name!r}: must be one of {'; '.join(LEARNERS)}")
    start = random_vertex(dimension, seeds)
    if name in RIVALS:
        return RIVALS[name](start)
    optimizer, reading = name.split(", ")
    return OPTIMIZERS[optimizer](start, reading, every=-(-rounds // 4))


def checkpoints(rounds: int, points: int = 25) -> list[int]:
    """Return at most ``points`` whole numbers from 10 to ``rounds``, evenly spaced on a log scale."""
    return sorted({round(value) for value in np.geomspace(min(10, rounds), rounds, points)})


@torch.no_grad()
def play(problem, learner, rounds: int, points: int = 25) -> pd.DataFrame:
    """Play ``rounds`` rounds; return a row per seed and checkpoint.

    ``round``        K
    ``loss``         sum of the learner's losses; in expectation over its coins where the losses are linear
    ``regret``       against a certified lower bound on the best vertex's loss: never too small
    ``regret_low``   against the best vertex found: never too large; the same where the best vertex is known
    ``regret_tossed``   as ``regret``, of the vertices really played, whatever the coins

    and for BSO and T-BSO, M_k being the momentum after the gradient of f_k has entered it, w* the best vertex found:

    ``gammas``, ``momenta``   sum of gamma_k; sum of max |M_k|, for T-BSO of max |M_k / sqrt(v_k + eps)|
    ``right_hand_side``       2 gammas + 2 momenta (Eq. 15, 16)
    ``momentum``              max |M_K| (Eq. 27), for T-BSO max |M_K / sqrt(v_K + eps)|
    ``gradient_product``      sum of <grad f_k(w_k), w_k - w*>, at least the regret
    ``momentum_product``      sum of <M_k, w_k - w*>, what the proof bounds

    and the three parts of the bound that does hold, R(K) <= ``tracking_bound`` (theorem A of notebook 08):

    ``first``        <g_1, w_1 - w*>, g_k the gradient of f_k at w_k
    ``thresholds``   2 d times the sum of gamma_k over k < K; for T-BSO of gamma_k sqrt(v_k + eps)
    ``tracking``     2 sum over k > 1 of |g_k - M_{k-1}|_1: how badly the momentum predicts the next gradient
    """
    sums, rows, stops = _Sums(), [], set(checkpoints(rounds, points))
    momentum, before = None, 0.0
    for k in range(rounds):
        w = learner.play()
        problem.reveal(k, learner.mean)
        sums.add("loss", problem.loss(learner.mean if problem.linear else w))
        sums.add("tossed", problem.loss(w))
        if not isinstance(learner, BSOLearner):
            learner.update(problem, k)
        else:
            w, last = w.clone(), None if momentum is None else momentum.clone()
            learner.update(problem, k)
            gradient, momentum = learner.gradient(), learner.momentum()
            if last is None:
                sums |= {"first_gradient": gradient, "first_product": (gradient * w).sum(1)}
            else:
                sums.add("thresholds", 2 * problem.dimension * before)
                sums.add("tracking", 2 * (gradient - last).abs().sum(1))
            before = learner.flip_threshold()
            largest = learner.scaled_momentum().abs().amax(1)
            sums.add("gammas", learner.gamma_k)
            sums.add("momenta", largest)
            sums.add("gradients", gradient)
            sums.add("momentum_vectors", momentum)
            sums.add("gradient_product", (gradient * w).sum(1))
            sums.add("momentum_product", (momentum * w).sum(1))
        if k + 1 in stops:
            row = {"round": k + 1, "loss": sums["loss"], **against_best(problem, sums)}
            if isinstance(learner, BSOLearner):
                row |= {"momentum": largest}
            rows.append(by_seed(row, problem.seeds))
    return pd.concat(rows, ignore_index=True)


class _Sums(dict):
    def add(self, name, value):
        if name not in self:
            self[name] = value.clone() if isinstance(value, torch.Tensor) else value
        else:
            self[name] += value


def against_best(problem, sums: dict) -> dict:
    """Return the columns of :func:`play` that compare with the best vertex, from ``sums`` over the rounds so far."""
    best, lower, upper = problem.hindsight()
    row = {"regret": sums["loss"] - lower, "regret_low": sums["loss"] - upper, "regret_tossed": sums["tossed"] - lower}
    if "momenta" in sums:
        row |= {name: sums[name] for name in ("gammas", "momenta")}
        row["right_hand_side"] = 2 * sums["gammas"] + 2 * sums["momenta"]  # Eq. 15, 16
        row["gradient_product"] = sums["gradient_product"] - (sums["gradients"] * best).sum(1)
        row["momentum_product"] = sums["momentum_product"] - (sums["momentum_vectors"] * best).sum(1)
        row["first"] = sums["first_product"] - (sums["first_gradient"] * best).sum(1)
        row["thresholds"], row["tracking"] = sums.get("thresholds", 0.0), sums.get("tracking", 0.0)
        row["tracking_bound"] = row["first"] + row["thresholds"] + row["tracking"]  # theorem A
    return row


def by_seed(row: dict, seeds: int) -> pd.DataFrame:
    """Return ``row``, of numbers and tensors (seeds,), as a table with a row per seed."""
    columns = {name: value.numpy().copy() if isinstance(value, torch.Tensor) else value for name, value in row.items()}
    return pd.DataFrame({"seed": range(seeds), **columns})


def regret_of(problem: str, learner: str, dimension: int, seeds: int, rounds: int) -> pd.DataFrame:
    """Return :func:`play` of two names, from :data:`PROBLEMS` and :data:`LEARNERS`, with columns of these names."""
    if problem not in PROBLEMS:
        raise ValueError(f"problem {problem!r}: must be one of {', '.join(PROBLEMS)}")
    player = make_learner(learner, dimension, seeds, rounds)
    table = play(PROBLEMS[problem](dimension, seeds), player, rounds)
    return table.assign(problem=problem, learner=learner, dimension=dimension)


@dataclass(frozen=True)
class Slope:
    """A fitted slope on log-log axes with its 95 % interval.

    All are NaN where the mean is not positive throughout, the interval alone where there is but one seed.
    """

    value: float
    low: float = np.nan
    high: float = np.nan

    def __str__(self):
        if np.isnan(self.value):
            return "not positive"
        value, low, high = (f"{round(number, 2) + 0.0:.2f}" for number in (self.value, self.low, self.high))
        return f"{value} (one seed)" if np.isnan(self.low) else f"{value} [{low}, {high}]"


def fit_slope(table: pd.DataFrame, column: str, last: float = 0.03, resamples: int = 1000) -> Slope:
    """Fit log(mean over seeds of ``column``) = a + slope log(round), over the rounds from ``last`` of all on.

    The interval is a percentile bootstrap over seeds. Resamples whose mean is not positive throughout count as
    "not positive" if they are more than one in forty, and are left out otherwise.
    """
    wide = table.pivot(index="round", columns="seed", values=column)
    wide = wide[wide.index >= last * wide.index.max()]
    x = np.log(wide.index.to_numpy(dtype=float))
    x -= x.mean()
    values = wide.to_numpy()
    seeds = values.shape[1]
    drawn = np.random.default_rng(0).integers(seeds, size=(resamples, seeds))
    means = np.concatenate([values.mean(1)[:, None], values[:, drawn].mean(2)], axis=1)
    positive = (means > 0).all(0)
    if not positive[0] or positive.mean() < 0.975:
        return Slope(np.nan)
    slopes = x @ np.log(means[:, positive]) / (x @ x)
    interval = np.quantile(slopes[1:], [0.025, 0.975]) if seeds > 1 else ()
    return Slope(float(slopes[0]), *map(float, interval))
