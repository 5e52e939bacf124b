"""Verdicts on the claims that seeds decide: a notebook hands over its runs, and each row is computed from them.

A family is all that one notebook decides by seeds; it shares one level of error (Holm). What is asked of the runs:
``bso_lib.companion.questions``.
"""

import math
import re
from collections.abc import Sequence

import pandas as pd

from bso_lib.companion import statistics
from bso_lib.companion.claim import Claim
from bso_lib.companion.questions import Comparison, Sample, Spread, meets
from bso_lib.companion.registry import CLAIMS
from bso_lib.companion.row import REDUCED, Row
from bso_lib.companion.scale import departures
from bso_lib.companion.statistics import FEWEST_SEEDS, LEVEL, MOST_SEEDS, Estimate
from bso_lib.experiment.evidence import evidence_key


def claim_of(claim_id: str) -> Claim:
    """Return the claim of the registry; raises ValueError for an unknown id."""
    if claim_id not in CLAIMS:
        raise ValueError(f"claim {claim_id!r} is not in bso_lib.companion.registry.CLAIMS")
    return CLAIMS[claim_id]


def judge_family(family: Sequence[Comparison | Spread | Sample]) -> list[Row]:
    """Return a row for each of ``family``: every claim that one notebook decides by seeds.

    Supported if the interval at Holm's level lies wholly where the claim says, contradicted if wholly outside, else
    undecided with the seeds that would decide it with 80 % power; always undecided with fewer than five seeds; never
    acted where what is compared differs in no digit of any run. The latter two take no share of the level.
    Raises ValueError for an unknown claim, one given twice, or one of another kind.
    """
    ids = [item.claim_id for item in family]
    if len(ids) != len(set(ids)):
        raise ValueError(f"{', '.join(sorted({i for i in ids if ids.count(i) > 1}))}: given twice to one family")
    for item in family:
        kind = claim_of(item.claim_id).kind
        if kind not in item.kinds:
            name = type(item).__name__
            raise ValueError(f"claim {item.claim_id!r} is of kind {kind!r}: {name} takes {', '.join(item.kinds)}")
    estimates = [item.estimates() for item in family]
    found = [each if item.acted() else None for item, each in zip(family, estimates, strict=True)]
    asked = [i for i, each in enumerate(found) if each and _fewest(each) >= FEWEST_SEEDS]
    p_values = [_p_value(claim_of(ids[i]), found[i]) for i in asked]
    levels = dict(zip(asked, statistics.holm(p_values), strict=True))
    decided = {i for i, p in zip(asked, p_values, strict=True) if p < levels[i]}
    return [
        _row(item, found[i], levels.get(i, LEVEL), i in decided, len(asked)) if found[i] else _never_acted(item)
        for i, item in enumerate(family)
    ]


def _fewest(estimates):
    return min(estimate.n for estimate in estimates.values())


def _distance(estimate, region):
    """Return how far the estimate lies from the nearest bound of the region, on either side of it."""
    return min(abs(estimate.value - bound) for bound in region if math.isfinite(bound))


def _inside(estimate, region):
    return region[0] < estimate.value < region[1]


def _p_value(claim, estimates):
    """Return the level at which the claim is decided: all points inside, or any one outside."""
    inside = [e.p_value(_distance(e, claim.region)) for e in estimates.values() if _inside(e, claim.region)]
    outside = [e.p_value(_distance(e, claim.region)) for e in estimates.values() if not _inside(e, claim.region)]
    return min(outside) if outside else max(inside)


def _row(item, estimates, level, decided, size):
    claim = claim_of(item.claim_id)
    verdict, needed = "undecided", ""
    if decided:
        holds = all(_inside(e, claim.region) for e in estimates.values())
        verdict = f"{'supported' if holds else 'contradicted'}{'' if _paper_scale(item, claim) else f' {REDUCED}'}"
    else:
        needed = _seeds_needed(max(e.seeds_for(_distance(e, claim.region), level) for e in estimates.values()))
        if any(e.n < 2 for e in estimates.values()):
            needed = f"{FEWEST_SEEDS} or more"
    signed = claim.kind in Comparison.kinds
    words = [f"{f'{p}: ' if p != '' else ''}{in_words(e, claim.unit, signed)}" for p, e in estimates.items()]
    ours = "; ".join([*words, *filter(None, [item.beside()])])
    named = f"{claim.criterion}: {100 * (1 - level):.4g} % interval (Holm, {size} claim{'s' * (size > 1)})"
    family = "; ".join(_interval(e, level) for e in estimates.values())
    test = (
        f"{named} {family}" if _fewest(estimates) >= FEWEST_SEEDS else f"{claim.criterion}: needs {FEWEST_SEEDS} seeds"
    )
    # Of several points one stands in the columns of numbers: that which contradicts most surely, or else the one that
    # is nearest to turning the verdict.
    outside = [e for e in estimates.values() if not _inside(e, claim.region)]
    if decided and outside:
        shown = min(outside, key=lambda e: e.p_value(_distance(e, claim.region)))
    else:
        shown = min(outside or estimates.values(), key=lambda e: _distance(e, claim.region))
    numbers = [shown.value, *shown.interval(), *shown.interval(level)]
    names = ("difference", "low", "high", "family_low", "family_high")
    rounded = {n: round(x, 4) if math.isfinite(x) else None for n, x in zip(names, numbers, strict=True)}
    return Row(
        claim.id, ours, conditions(item), test, verdict, _fewest(estimates), seeds_needed=needed, runs=keys(item),
        **rounded,
    )  # fmt: skip


def _never_acted(item):
    estimates = item.estimates().values()
    pairs = sum(e.n * max(1, e.points - 1) for e in estimates)
    ours = f"equal to the last digit in {pairs} of {pairs} pairs of runs"
    test = "a switch has to change something to be judged"
    return Row(item.claim_id, ours, conditions(item), test, "never acted", min(e.n for e in estimates), runs=keys(item))


def _seeds_needed(seeds):
    return f"more than {MOST_SEEDS}" if seeds == math.inf else str(int(seeds))


def _interval(estimate, level):
    if estimate.n < 2:
        return "[unknown]"
    low, high = estimate.interval(level)
    return f"[{low:+.2f}, {high:+.2f}]" if not estimate.points else f"[{low:.2f}, {high:.2f}]"


def in_words(estimate: Estimate, unit: str = "points", signed: bool = True) -> str:
    """Return the estimate with its 95 % interval and n in words, as in "+1.09 points [+0.13, +2.05] (n = 5)"."""
    value = f"{estimate.value:{'+' * signed}.2f}"
    return f"{value}{f' {unit}' * bool(unit)} {_interval(estimate, LEVEL)} (n = {estimate.n})"


def _runs(item):
    return [r for group in item.groups() if not isinstance(group, pd.Series) for r in group]


def _paper_scale(item, claim):
    """Whether every run is the paper's own, for this claim."""
    configs = [r.config for r in _runs(item)]
    return bool(configs) and all(not departures(c, claim.free) and meets(c, claim.asks) for c in configs)


def keys(item) -> tuple[str, ...]:
    """Return the evidence keys of the runs behind ``item``, each once, in order."""
    return tuple(sorted({evidence_key(r.config) for r in _runs(item)}))


def conditions(item) -> str:
    """Return data, scale, seeds and device of the runs behind ``item`` in words; raises ValueError if none is known."""
    runs = _runs(item)
    if not runs:
        if not item.conditions:
            raise ValueError(f"{item.claim_id}: values without runs need conditions='...'")
        return item.conditions
    steps = {}
    for r in runs:
        shape = re.sub(r"T = \d+(?=, \d+ epochs?, \S+ BatchNorm)", "T = *", r.config.conditions())
        steps.setdefault(shape, set()).add(r.config.time_steps)
    words = [s.replace("T = *", f"T = {', '.join(map(str, sorted(t)))}") for s, t in steps.items()]
    devices = ", ".join(sorted({r.provenance["device"] for r in runs}))
    return "; ".join(
        [*words, f"seeds {_span({r.config.seed for r in runs})}", devices, *filter(None, [item.conditions])]
    )


def _span(seeds):
    seeds = sorted(seeds)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
