"""Verdicts by seeds: what lies wholly on one side is decided, the rest is not; scale and switches are told apart."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bso_lib.companion.questions import Comparison, Sample, Spread, by_seed, published_accuracies
from bso_lib.companion.registry import CLAIMS
from bso_lib.companion.verdicts import judge_family
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import RunResult

TINY = RunConfig(width=1 / 16, epochs=2, train_size=100)
PAPER = RunConfig(dataset="cifar10", augment=("crop", "flip", "cutout"), time_steps=2)
WAVE = [0.3, -0.2, 0.1, -0.4, 0.2, 0.0, -0.1, 0.4, -0.3, 0.1]


def results(mean, n=5, base=TINY, spread=1.0, **changes):
    """A run per seed with an accuracy of about ``mean``."""
    base = replace(base, **changes)
    return [
        RunResult(replace(base, seed=s), pd.DataFrame({"accuracy": [mean + spread * WAVE[s]]}), {"device": "cpu"}, None)
        for s in range(n)
    ]


def judge(*family):
    return judge_family(family)


def test_the_whole_interval_decides():
    above, below, between = judge(
        Comparison("t-bso-above-bso", results(85), results(80, spread=-1, method="bso")),
        Comparison("latent-weights-not-needed", results(85), results(90, spread=-1)),
        Comparison("t-bso-reaches-fp-bptt", results(85), results(85.1, spread=-1)),
    )
    assert above.verdict == "supported here (reduced scale)"
    assert below.verdict == "contradicted here (reduced scale)"
    assert (between.verdict, above.seeds_needed, below.seeds_needed) == ("undecided", "", "")
    assert int(between.seeds_needed) > 100
    assert between.low < 0 < between.high
    assert between.family_low == between.low, "the last of Holm's levels is the whole one"
    assert above.family_low < above.low < above.difference == 5 < above.high < above.family_high
    assert above.n == 5
    assert above.ours.startswith("+5.00 points [+")
    assert above.ours.endswith("85.00 ± 0.29 against 80.00 ± 0.29; P(above) 1.00, sign-flip p 0.062")
    assert "accuracy of T-BSO less BSO above 0 points: 98.33 % interval (Holm, 3 claims) [+" in above.test
    assert above.conditions == f"{TINY.conditions()}; seeds 0 to 4; cpu"
    assert len(set(above.runs)) == 10


def test_only_runs_that_are_paired_stand_behind_a_row():
    more = results(85, 8)
    (row,) = judge(Comparison("t-bso-above-bso", more, results(80, method="bso")))
    assert (row.n, len(row.runs), row.conditions) == (5, 10, f"{TINY.conditions()}; seeds 0 to 4; cpu")
    values = pd.Series([85.0, 85.3, 84.8, 85.1, 84.9, 99.0]), pd.Series([80.0, 80.1, 80.2, 79.9, 80.0])
    assert [len(group) for group in Comparison("t-bso-above-bso", *values, conditions="x").groups()] == [5, 5]


def test_of_several_points_the_numbers_are_of_the_one_that_decides():
    ours = {
        "a little, surely": results(84, spread=0.1),
        "much, with noise": results(80, spread=40),
        "well": results(95),
    }
    theirs = {point: results(85, method="bso", spread=-0.1) for point in ours}
    (row,) = judge(Comparison("t-bso-above-bso-at-every-t", ours, theirs))
    assert row.verdict == "contradicted here (reduced scale)"
    assert row.difference == pytest.approx(-1.0)
    assert row.family_low < row.family_high < 0
    (row,) = judge(
        Comparison("t-bso-above-bso-at-every-t", dict(list(ours.items())[1:]), {p: theirs[p] for p in list(ours)[1:]})
    )
    assert (row.verdict, row.difference) == ("undecided", pytest.approx(-5.0))


def test_within_a_margin_is_not_above_zero():
    slightly_below = results(85), results(85.3, spread=0.9)
    (within,) = judge(Comparison("latent-weights-not-needed", *slightly_below))
    (above,) = judge(Comparison("t-bso-above-bso", *slightly_below))
    assert within.verdict == "supported here (reduced scale)"
    assert above.verdict == "contradicted here (reduced scale)"


@pytest.mark.parametrize("n", [1, 2, 4])
def test_fewer_than_five_seeds_decide_nothing(n):
    (row,) = judge(Comparison("t-bso-above-bso", results(99, n), results(10, n, spread=0.5)))
    assert (row.verdict, row.n) == ("undecided", n)
    assert row.seeds_needed == ("5 or more" if n == 1 else "5")
    assert "needs 5 seeds" in row.test


def test_noise_does_not_buy_robustness():
    def points(spread):
        return {g: results(85 + 0.01 * g, spread=s * spread) for g, s in enumerate((1, -1, 1))}

    quiet, loud = (judge(Spread("robust-to-gamma", points(spread)))[0] for spread in (0.1, 20))
    assert quiet.verdict == "supported here (reduced scale)"
    assert (loud.verdict, quiet.n) == ("undecided", 5)
    assert quiet.low >= 0
    far = {1: results(85), 2: results(70, spread=0.5)}
    assert judge(Spread("robust-to-betas", far))[0].verdict == "contradicted here (reduced scale)"


def test_a_claim_on_every_point_holds_at_every_point():
    def rows(*gaps):
        a = {f"T = {t}": results(80 + gap) for t, gap in enumerate(gaps)}
        return judge(Comparison("t-bso-above-bso-at-every-t", a, {key: results(80, spread=0.5) for key in a}))[0]

    assert rows(3, 4, 5).verdict == "supported here (reduced scale)"
    assert rows(3, 0.01, 5).verdict == "undecided"
    assert rows(3, -4, 5).verdict == "contradicted here (reduced scale)"
    assert rows(3, -4, 5).difference == -4
    assert "T = 1: +4.00 points" in rows(3, 4, 5).ours


def test_a_quantity_of_each_seed_is_held_against_the_margin():
    kept = {s: 0.3 + 0.01 * s for s in range(5)}
    (row,) = judge(Sample("threshold-acts-bso", results(80), measure=lambda r: kept[r.config.seed]))
    assert row.verdict == "supported here (reduced scale)"
    (row,) = judge(Sample("threshold-acts-t-bso", results(80), measure=lambda r: 0.0))
    assert row.verdict == "contradicted here (reduced scale)"
    by_method = {m: pd.Series([0.1, -0.1, 0.0, 0.05, -0.05]) for m in ("BSO", "T-BSO")}
    zero = {m: pd.Series(np.zeros(5)) for m in by_method}
    (row,) = judge(Comparison("exact-accuracy", by_method, zero, conditions="a table"))
    assert (row.verdict, row.conditions, row.runs) == ("supported here (reduced scale)", "a table", ())


def test_the_papers_own_settings_are_told_from_ours():
    a, b = results(94, base=PAPER), results(90, base=PAPER, method="bso", spread=0.5)
    assert judge(Comparison("t-bso-above-bso", a, b))[0].verdict == "supported"
    assert judge(Comparison("t-bso-above-bso", b, a))[0].verdict == "contradicted"
    for change in ({"time_steps": 4}, {"gamma": 1e-6}):  # the claim is on T = 2; the table has gamma = 5e-7
        (row,) = judge(Comparison("t-bso-above-bso", results(94, base=PAPER, **change), b))
        assert row.verdict == "supported here (reduced scale)"


def test_a_switch_that_changed_nothing_has_never_acted():
    alike = results(80), results(80, sign_of_zero="zero")
    differs = results(80), results(79.9, eps=1e-10, spread=0.5)
    never, undecided = judge(Comparison("code-sign_of_zero", *alike), Comparison("code-eps_place", *differs))
    assert (never.verdict, never.ours, never.n) == ("never acted", "equal to the last digit in 5 of 5 pairs of runs", 5)
    assert "(Holm, 1 claim)" in undecided.test
    idle = {gamma: results(80, gamma=gamma) for gamma in (5e-8, 5e-7, 5e-6)}
    (never,) = judge(Spread("robust-to-gamma", idle))
    assert (never.verdict, never.ours) == ("never acted", "equal to the last digit in 10 of 10 pairs of runs")


def test_seeds_are_paired_where_both_have_them():
    (row,) = judge(Comparison("t-bso-above-bso", results(85, 10), results(80, 6, spread=0.5)))
    assert row.n == 6
    assert by_seed(pd.Series({3: 1.0, 1: 2.0})) == {1: 2.0, 3: 1.0}


def test_what_does_not_fit_is_refused():
    a = results(85)
    with pytest.raises(ValueError, match="claim 'best-ever' is not in"):
        judge(Comparison("best-ever", a, a))
    with pytest.raises(ValueError, match="t-bso-above-bso: given twice to one family"):
        judge(Comparison("t-bso-above-bso", a, a), Comparison("t-bso-above-bso", a, a))
    with pytest.raises(ValueError, match="'robust-to-gamma' is of kind 'robustness': Comparison takes superiority"):
        judge(Comparison("robust-to-gamma", a, a))
    with pytest.raises(ValueError, match=r"one run for each seed, at least one"):
        judge(Comparison("t-bso-above-bso", a + a, results(80)))
    with pytest.raises(ValueError, match=r"no common seed of \[0, 1\] and \[2, 3, 4\]"):
        judge(Comparison("t-bso-above-bso", a[:2], results(80)[2:]))
    with pytest.raises(ValueError, match=r"exact-accuracy: points \['BSO'\] against \['T-BSO'\]"):
        judge(Comparison("exact-accuracy", {"BSO": a}, {"T-BSO": a}))
    with pytest.raises(ValueError, match="values without runs need conditions"):
        judge(Comparison("exact-accuracy", pd.Series([1.0]), pd.Series([2.0])))


def test_without_differences_a_family_rarely_gets_a_verdict():
    draw = np.random.default_rng(0)
    ids = [c.id for c in CLAIMS.values() if c.kind == "superiority"][:6]
    false = 0
    for _ in range(200):
        family = [Comparison(i, pd.Series(draw.normal(size=5)), pd.Series(np.zeros(5)), conditions="-") for i in ids]
        false += any(row.verdict != "undecided" for row in judge_family(family))
    assert false <= 20  # 10 expected; more than 20 in one case of a thousand


def test_published_accuracies_are_those_that_were_run_with_the_papers_settings():
    runs = results(94, base=PAPER) + results(93, base=PAPER, time_steps=4) + results(70)
    found = published_accuracies("Table 2", runs)
    assert [s.claim_id for s in found] == ["table2-cifar-10-t-bso-t4", "table2-cifar-10-t-bso-t2"]
    assert [row.verdict for row in judge_family(found)] == ["contradicted", "supported"]
    tables = replace(PAPER, dataset="cifar100", gamma=2e-7)
    assert [s.claim_id for s in published_accuracies("Table 3", results(73, base=tables))] == ["table3-gamma-2e-07"]
    assert published_accuracies("Table 2", results(70)) == []
