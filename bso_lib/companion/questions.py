"""What a notebook asks of its runs: a difference, a range, or a quantity of each seed, for one claim."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import pandas as pd

from bso_lib.companion import statistics
from bso_lib.companion.registry import CLAIMS
from bso_lib.companion.scale import departures
from bso_lib.companion.statistics import Estimate
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import RunResult

# One group of runs, a seed each; values in their place, by seed, where there are no runs to hand over.
Group = Sequence[RunResult] | pd.Series


def accuracy_of(result: RunResult) -> float:
    """Return the accuracy in percent."""
    return result.accuracy


@dataclass(frozen=True)
class Comparison:
    """``a`` less ``b``, paired by their common seeds; both may map points (such as "T = 2") to groups: at each of them.

    ``measure``: what is compared of a run, its accuracy unless given. ``conditions``: in words, needed for values.
    """

    claim_id: str
    a: Group | Mapping[Hashable, Group]
    b: Group | Mapping[Hashable, Group]
    measure: Callable[[RunResult], float] = accuracy_of
    conditions: str = ""

    kinds = ("superiority", "non-inferiority", "equivalence")

    def groups(self):
        """Return all groups of both sides, without the seeds that the other side lacks."""
        a, b = _points(self.a), _points(self.b)
        both = {point: set(by_seed(a[point])) & set(by_seed(b[point])) for point in a}
        return [_of_seeds(side[point], both[point]) for side in (a, b) for point in a]

    def _pairs(self):
        a, b = _points(self.a), _points(self.b)
        if set(a) != set(b):
            raise ValueError(f"{self.claim_id}: points {list(a)} against {list(b)}")
        for point in a:
            ours, theirs = by_seed(a[point], self.measure), by_seed(b[point], self.measure)
            seeds = [seed for seed in ours if seed in theirs]
            if not seeds:
                raise ValueError(f"{self.claim_id}: no common seed of {list(ours)} and {list(theirs)}")
            yield point, [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]

    def estimates(self) -> dict[Hashable, Estimate]:
        """Return an estimate for each point."""
        pairs = list(self._pairs())
        return {point: statistics.difference(a, b, of=len(pairs)) for point, a, b in pairs}

    def beside(self) -> str:
        """Return in words what stands beside the interval: both means, P(a > b), the sign-flip p value."""
        pairs = list(self._pairs())
        if len(pairs) > 1:
            return ""
        _, a, b = pairs[0]
        above, p = statistics.probability_above(a, b), statistics.sign_flip([x - y for x, y in zip(a, b, strict=True)])
        return f"{spread(a)} against {spread(b)}; P(above) {above:.2f}, sign-flip p {p:.2g}"

    def acted(self) -> bool:
        """Whether any run differs from its partner in any digit of its history; values are taken to."""
        return any(_differ(group, _points(self.b)[point]) for point, group in _points(self.a).items())


@dataclass(frozen=True)
class Spread:
    """The range of the means over ``points`` (a setting to its group), each with the same seeds."""

    claim_id: str
    points: Mapping[Hashable, Group]
    measure: Callable[[RunResult], float] = accuracy_of
    conditions: str = ""

    kinds = ("robustness",)

    def groups(self):
        """Return the groups of all points."""
        return list(self.points.values())

    def estimates(self) -> dict[Hashable, Estimate]:
        """Return the estimate of the range over the seeds that all points have."""
        found = [by_seed(group, self.measure) for group in self.points.values()]
        seeds = [seed for seed in found[0] if all(seed in values for values in found)]
        return {"": statistics.range_of([[values[seed] for seed in seeds] for values in found])}

    def beside(self) -> str:
        """Return how many settings are compared."""
        return f"{len(self.points)} settings"

    def acted(self) -> bool:
        """Whether the setting changed any digit of any run; values are taken to."""
        first, *others = self.points.values()
        return any(_differ(first, group) for group in others)


@dataclass(frozen=True)
class Sample:
    """One quantity of each seed of ``group``, held against the claim's margin; of points mapped to groups, at each."""

    claim_id: str
    group: Group | Mapping[Hashable, Group]
    measure: Callable[[RunResult], float] = accuracy_of
    conditions: str = ""

    kinds = ("above", "below", "accuracy")

    def groups(self):
        """Return all groups."""
        return list(_points(self.group).values())

    def estimates(self) -> dict[Hashable, Estimate]:
        """Return an estimate for each point."""
        groups = _points(self.group)
        return {
            point: statistics.mean_of(list(by_seed(group, self.measure).values()), of=len(groups))
            for point, group in groups.items()
        }

    def beside(self) -> str:
        """Return nothing: the interval says it."""
        return ""

    def acted(self) -> bool:
        """A sample is always judged."""
        return True


def _of_seeds(group, seeds):
    if isinstance(group, pd.Series):
        return group[group.index.isin(seeds)]
    return [result for result in group if result.config.seed in seeds]


def _differ(a, b):
    if isinstance(a, pd.Series) or isinstance(b, pd.Series):
        return True
    partners = {r.config.seed: r.history for r in b}
    pairs = [(r.history, partners[r.config.seed]) for r in a if r.config.seed in partners]
    return any(not ours.equals(theirs) for ours, theirs in pairs)


def _points(side) -> Mapping[Hashable, Group]:
    return side if isinstance(side, Mapping) else {"": side}


def by_seed(group: Group, measure: Callable[[RunResult], float] = accuracy_of) -> dict[int, float]:
    """Return seed to value in the order of seeds; raises ValueError for a seed given twice, or none."""
    pairs = list(group.items()) if isinstance(group, pd.Series) else [(r.config.seed, measure(r)) for r in group]
    values = {int(seed): float(value) for seed, value in sorted(pairs)}
    if len(values) != len(pairs) or not values:
        raise ValueError(f"seeds {[seed for seed, _ in pairs]}: one run for each seed, at least one")
    return values


def spread(values: Sequence[float]) -> str:
    """Return "mean ± standard deviation"; no deviation for a single value."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def meets(config: RunConfig, asks: Mapping) -> bool:
    """Whether ``config`` has the values of ``asks``."""
    return all(
        math.isclose(getattr(config, name), value, rel_tol=1e-9)
        if isinstance(value, float) else getattr(config, name) == value
        for name, value in asks.items()
    )  # fmt: skip


def published_accuracies(place: str, results: Sequence[RunResult]) -> list[Sample]:
    """Return a sample for each published accuracy of ``place`` ("Table 2", "Fig. 5", ...) that ``results`` ran.

    Only runs with all the paper's settings count: at reduced scale the list is empty.
    """
    found = []
    for claim in CLAIMS.values():
        if claim.kind == "accuracy" and claim.place == place:
            runs = [r for r in results if meets(r.config, claim.asks) and not departures(r.config, claim.free)]
            found += [Sample(claim.id, runs)] if runs else []
    return found
