"""Differences between methods over seeds: intervals, Holm's levels, and the seeds that would decide.

All is frequentist and small: a difference is paired by seed and taken as normal (Student's t), a range over several
points is bounded by Tukey's studentized range. An interval is estimate -+ c(level) * error, so a question "does it lie
within (low, high)?" is decided, at a level, when c(level) * error is less than the distance to the nearest bound; the
smallest level that decides is the p value, and Holm's procedure shares one level between the questions of a family.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

LEVEL = 0.05  # of a false verdict, two-sided, for a whole family
POWER = 0.8  # with which the seeds that are asked for would decide, if the estimate is true
MOST_SEEDS = 1000  # beyond that nobody counts
FEWEST_SEEDS = 5  # below that nothing is decided


@dataclass(frozen=True)
class Estimate:
    """``value`` estimated from ``n`` seeds, with ``deviation`` of one seed; one of ``of`` that are asked together.

    ``points``: 0 for a mean over seeds; for the range over so many points, ``deviation`` is that of one seed at one
    point when the seed's own level is taken out.
    """

    value: float
    deviation: float
    n: int
    points: int = 0
    of: int = 1

    @property
    def error(self) -> float:
        """Standard error; infinite for fewer than two seeds."""
        return self.deviation / math.sqrt(self.n) if self.n > 1 else math.inf

    def p_value(self, distance: float) -> float:
        """Return the smallest two-sided level at which the interval does not reach ``distance`` away."""
        if self.n < 2 or not distance > 0:
            return 1.0
        if self.error == 0:
            return 0.0
        reached = distance / self.error
        if self.points:
            tail = float(stats.studentized_range.sf(reached, self.points, _freedom(self.points, self.n)))
        else:
            tail = 2 * float(stats.t.sf(reached, self.n - 1))
        return min(1.0, self.of * tail)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval of confidence 1 - ``level``, simultaneous with the ``of`` - 1 others; a range is >= 0."""
        if self.n < 2:
            return (0.0 if self.points else -math.inf), math.inf
        half = _quantile(level / self.of, self.points, self.n) * self.error
        low = self.value - half
        return (max(0.0, low) if self.points else low), self.value + half

    def seeds_for(self, distance: float, level: float = LEVEL) -> float:
        """Return how many seeds decide at ``level`` with :data:`POWER`; inf beyond :data:`MOST_SEEDS`, or unknown."""
        if self.n < 2 or not distance > 0:
            return math.inf
        power = stats.norm.ppf(POWER)

        def decides(n):
            return (_quantile(level / self.of, self.points, n) + power) * self.deviation <= distance * math.sqrt(n)

        if decides(FEWEST_SEEDS):
            return FEWEST_SEEDS
        few, many = FEWEST_SEEDS, MOST_SEEDS
        if not decides(many):
            return math.inf
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (few, middle) if decides(middle) else (middle, many)
        return many


def _freedom(points, n):
    return (points - 1) * (n - 1)


@cache
def _quantile(level, points, n):
    """Return c: the interval is estimate -+ c * error."""
    if points:
        return float(stats.studentized_range.ppf(1 - level, points, _freedom(points, n)))
    return float(stats.t.ppf(1 - level / 2, n - 1))


def _finite(values, at_least=1):
    values = np.asarray(values, dtype=float)
    if values.size < at_least or not np.isfinite(values).all():
        raise ValueError(f"values={values.tolist()}: must be {at_least} finite number(s) or more")
    return values


def mean_of(values: Sequence[float], of: int = 1) -> Estimate:
    """Return the estimate of a mean from one value per seed; raises ValueError for none or what is not finite."""
    values = _finite(values)
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.inf
    return Estimate(float(values.mean()), deviation, len(values), of=of)


def difference(a: Sequence[float], b: Sequence[float], of: int = 1) -> Estimate:
    """Return the estimate of the mean of a - b, both in the order of the same seeds; ValueError for other lengths."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}: a difference is paired by seed")
    return mean_of(_finite(a) - _finite(b), of)


def range_of(table: Sequence[Sequence[float]]) -> Estimate:
    """Return the estimate of largest minus smallest mean over the points (rows), each with the same seeds (columns).

    All true differences of means lie within the interval's half-width of the observed ones at once (Tukey), so the
    true range does too. That takes the spread of seeds to be alike at all points, after each seed's own level is
    taken out. Raises ValueError for fewer than two points or rows of different length.
    """
    lengths = {len(row) for row in table}
    if len(table) < 2 or len(lengths) != 1:
        raise ValueError(f"{len(table)} points with {sorted(lengths)} seeds: a range needs two points, the same seeds")
    values = _finite(table)
    points, n = values.shape
    means = values.mean(1)
    rest = values - means[:, None] - values.mean(0) + values.mean()
    deviation = math.sqrt((rest**2).sum() / _freedom(points, n)) if n > 1 else math.inf
    return Estimate(float(means.max() - means.min()), deviation, n, points=points)


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[float]:
    """Return the level at which Holm's procedure judges each of a family: decided where p < that level.

    In the order of p, level / m, level / (m - 1), ... while they decide; all the rest at the first that does not.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    levels, own = [level] * len(p_values), None
    for rank, i in enumerate(order):
        if own is None or p_values[order[rank - 1]] < own:
            own = level / (len(order) - rank)
        levels[i] = own
    return levels


def sign_flip(differences: Sequence[float]) -> float:
    """Return the two-sided p value that the signs of paired differences are chance: exact up to 16 seeds.

    The smallest possible is 2 / 2^n: five seeds cannot give less than 0.0625. Beyond 16 seeds, 65,536 draws.
    """
    d = _finite(differences)
    if not d.any():
        return 1.0
    if len(d) <= 16:
        flips = 1 - 2 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)
    else:
        flips = np.random.default_rng(0).choice((-1, 1), size=(2**16, len(d)))
        flips[0] = 1
    sums = np.abs(flips @ d)
    return float((sums >= abs(d.sum()) * (1 - 1e-12)).mean())


def probability_above(a: Sequence[float], b: Sequence[float]) -> float:
    """Return P(A > B), how often a seed of ``a`` lies above one of ``b``; a tie counts a half."""
    a, b = _finite(a), _finite(b)
    return float(stats.mannwhitneyu(a, b).statistic) / (len(a) * len(b))
