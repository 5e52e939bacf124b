"""Intervals over seeds: they cover what they promise, a family without differences is left undecided, seeds help."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from bso_lib.companion import statistics
from bso_lib.companion.statistics import difference, holm, mean_of, probability_above, range_of, sign_flip

LEVEL = 0.05


def test_a_difference_has_scipys_interval_and_p_value():
    a, b = [81.2, 80.1, 82.3, 79.9, 81.0], [80.0, 80.4, 81.1, 79.0, 80.2]
    theirs = stats.ttest_rel(a, b)
    ours = difference(a, b)
    assert ours.interval() == pytest.approx(theirs.confidence_interval(0.95))
    assert ours.p_value(abs(ours.value)) == pytest.approx(theirs.pvalue)
    assert mean_of(a).interval(0.01) == pytest.approx(stats.ttest_1samp(a, 0).confidence_interval(0.99))
    assert ours.value == pytest.approx(0.76)


def test_points_asked_together_have_wider_intervals():
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    assert mean_of(values, of=4).interval() == pytest.approx(mean_of(values).interval(LEVEL / 4))
    assert mean_of(values, of=4).p_value(0.42) == pytest.approx(4 * mean_of(values).p_value(0.42))


def test_intervals_cover_what_they_promise():
    draw = np.random.default_rng(1)
    found = [difference(draw.normal(1, 2, 6), draw.normal(0, 1, 6)).interval() for _ in range(1500)]
    assert np.mean([low < 1 < high for low, high in found]) == pytest.approx(0.95, abs=0.02)
    means = np.array([0, 0.3, 1.0, 0.2])[:, None]
    found = []
    for _ in range(600):  # seeds have levels of their own, as the same shuffles at all points give them
        found.append(range_of(means + draw.normal(0, 3, 5) + draw.normal(0, 1, (4, 5))).interval())
    assert np.mean([low <= 1 <= high for low, high in found]) >= 0.94


def test_without_a_difference_a_family_gets_a_false_verdict_in_one_case_of_twenty_at_most():
    draw = np.random.default_rng(2)
    false = 0
    for _ in range(1500):
        estimates = [mean_of(row) for row in draw.normal(0, 1, (5, 8))]
        p_values = [e.p_value(abs(e.value)) for e in estimates]
        false += any(p < level for p, level in zip(p_values, holm(p_values), strict=True))
    assert 0.03 < false / 1500 < 0.065


def test_a_range_at_its_margin_is_called_small_or_large_in_one_case_of_twenty_at_most():
    draw = np.random.default_rng(3)

    def called(means, number):
        table = np.array(means)[:, None]
        found = [range_of(table + draw.normal(0, 1, (len(means), 6))) for _ in range(number)]
        assert found[0].p_value(abs(found[0].value - 1)) == pytest.approx(_level_that_reaches(found[0], 1.0), abs=1e-3)
        return np.mean([not e.interval()[0] <= 1 <= e.interval()[1] for e in found])

    assert called([0, 1.0], 1000) <= 0.065
    # More points, all but one alike: the largest of many is biased upwards, and the interval pays for it.
    assert called([0, 0, 0, 0, 0, 1.0], 500) <= 0.06


def _level_that_reaches(estimate, bound):
    """The level whose interval ends at ``bound``, found by trying."""
    return optimize.brentq(lambda level: _gap(estimate.interval(level), estimate.value, bound), 1e-4, 1 - 1e-4)


def _gap(interval, value, bound):
    return (interval[1] - value) - abs(bound - value)


def test_power_grows_with_seeds():
    draw = np.random.default_rng(4)
    power = []
    for n in (5, 10, 20):
        estimates = [mean_of(row) for row in draw.normal(1, 1.4, (400, n))]
        power.append(np.mean([e.value > 0 and e.p_value(e.value) < LEVEL for e in estimates]))
    assert power[0] + 0.15 < power[1]
    assert power[1] + 0.15 < power[2]


def test_the_seeds_asked_for_decide_four_times_in_five():
    estimate = mean_of(np.array([-1.0, 1.0, 0.0, 1.5, -0.5]) * 1.2 + 0.4)
    n = estimate.seeds_for(estimate.value)
    draw = np.random.default_rng(5)
    again = [mean_of(row) for row in draw.normal(estimate.value, estimate.deviation, (2000, int(n)))]
    assert np.mean([e.p_value(e.value) < LEVEL for e in again]) == pytest.approx(0.8, abs=0.04)
    assert estimate.seeds_for(estimate.value, 0.01) > n
    assert estimate.seeds_for(0.001) == math.inf
    assert estimate.seeds_for(0) == math.inf
    assert mean_of([1.0, 1.0]).seeds_for(0.5) == 5
    spread = range_of([[1.0, 2.0, 3.5], [1.2, 2.2, 3.0], [0.7, 2.0, 3.1]])
    assert 5 <= spread.seeds_for(1.0) < spread.seeds_for(0.3) < 1000


def test_holm_shares_the_level_by_rank():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.05 / 3, 0.025, 0.025])
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([0.05 / 3, 0.025, 0.05])
    assert holm([0.2, 0.001]) == pytest.approx([0.05, 0.025])
    assert holm([]) == []


def test_one_value_decides_nothing_and_equal_ones_leave_no_doubt():
    assert mean_of([3.0]).interval() == (-math.inf, math.inf)
    assert mean_of([3.0]).p_value(1) == 1
    assert range_of([[1.0], [2.0]]).interval() == (0, math.inf)
    assert mean_of([3.0] * 5).interval() == (3, 3)
    assert mean_of([3.0] * 5).p_value(1) == 0
    assert mean_of([0.0] * 5).p_value(0) == 1


def test_sign_flips_are_counted_exactly():
    assert sign_flip([1.0, 2.0, 0.5, 0.3, 1.1]) == 2 / 2**5
    assert sign_flip([1.0, -1.0]) == 1
    assert sign_flip([0.0, 0.0]) == 1
    d = np.random.default_rng(6).normal(0.5, 1, 9)
    theirs = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=2**9)
    assert sign_flip(d) == pytest.approx(theirs.pvalue)
    assert sign_flip(np.ones(20)) < 0.001


def test_probability_above_counts_pairs():
    assert probability_above([3, 4], [1, 2]) == 1
    assert probability_above([1, 2], [1, 2]) == 0.5
    assert probability_above([1, 3], [2, 2]) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: difference([1], [1, 2]), "1 values against 2: a difference is paired by seed"),
        (lambda: mean_of([]), r"values=\[\]: must be 1 finite number"),
        (lambda: mean_of([1, math.nan]), "nan"),
        (lambda: range_of([[1, 2]]), r"1 points with \[2\] seeds: a range needs two points, the same seeds"),
        (lambda: range_of([[1, 2], [1]]), r"2 points with \[1, 2\] seeds"),
    ],
)
def test_what_cannot_be_estimated_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_level_is_registered():
    assert (statistics.LEVEL, statistics.FEWEST_SEEDS) == (0.05, 5)
