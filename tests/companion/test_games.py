"""Games in figures and in the ledger: means over seeds, ratios and slopes of tables whose answers are known."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bso_lib.companion.games import draw_mean, in_words, inequality, largest_ratio, rate
from bso_lib.regret.play import LEARNERS, regret_of


def game(exponent, size=1.0):
    """A game of two seeds whose mean regret is ``size`` times K to the ``exponent``, beside a right-hand side of K."""
    rounds = np.array([10, 100, 1000])
    mean = pd.DataFrame({"round": rounds, "regret": size * rounds**exponent, "right_hand_side": 1.0 * rounds})
    both = [mean.assign(seed=seed, regret=share * mean["regret"]) for seed, share in enumerate((0.5, 1.5))]
    return pd.concat(both).assign(problem="adversary", learner="BSO, constant", dimension=8)


def test_the_mean_over_seeds_is_drawn_in_units_of_another_column():
    _, axis = plt.subplots()
    drawn = draw_mean(axis, game(0.5), "regret", color="#123456", label="mine")
    assert list(drawn) == ["round", "regret", "drawn"]
    assert drawn["regret"].tolist() == pytest.approx([10**0.5, 10, 1000**0.5])
    assert drawn["drawn"].tolist() == pytest.approx([10**-0.5, 0.1, 1000**-0.5])
    line = axis.lines[0]
    assert (line.get_color(), line.get_label(), axis.get_xscale()) == ("#123456", "mine", "log")
    assert np.array_equal(line.get_ydata(), drawn["drawn"])
    drawn = draw_mean(axis, game(1, size=3), "regret", "right_hand_side")
    assert drawn["drawn"].tolist() == pytest.approx([3, 3, 3])
    plt.close()


def test_a_learner_is_named_with_its_reading_in_words():
    assert in_words("T-BSO, beta ~ 1/sqrt(k)") == "T-BSO, hardly any average"
    assert in_words("gradient descent, rounded") == "gradient descent, rounded"
    assert len({in_words(name) for name in LEARNERS}) == len(LEARNERS)


@pytest.mark.parametrize(("size", "verdict"), [(0.9, "supported here (reduced scale)"), (1.1, "false as stated")])
def test_an_inequality_is_judged_by_the_largest_ratio_of_the_means(size, verdict):
    assert largest_ratio(game(1, size)) == pytest.approx(size)
    row = inequality("eq15", game(1, size))
    assert row.verdict == verdict
    slope = "1.00 [1.00, 1.00]"
    assert row.ours == f"R(K) up to {size:.2f} times the right-hand side; slopes {slope} and {slope}"
    assert row.conditions == "adversary losses, BSO, constant, d = 8, K = 1000, 2 seeds"


@pytest.mark.parametrize(
    ("exponent", "verdict"),
    [(0.3, "supported here (reduced scale)"), (0.52, "contradicted here (reduced scale)")],
)
def test_a_rate_is_judged_by_its_slope(exponent, verdict):
    row = rate("eq17-iid-linear", game(exponent))
    assert row.verdict == verdict
    assert row.ours == f"slope of R(K): {exponent:.2f} [{exponent:.2f}, {exponent:.2f}]"
    assert row.test == "95 % interval of the slope below 0.55; above 0.5 refutes"


def test_games_of_the_library_have_what_is_judged():
    played = regret_of("adversary", "BSO, constant", dimension=4, seeds=2, rounds=30)
    assert inequality("eq15", played).conditions == "adversary losses, BSO, constant, d = 4, K = 30, 2 seeds"
    assert rate("eq27", played, "momentum", "|M_k|_inf").ours.startswith("slope of |M_k|_inf: ")
