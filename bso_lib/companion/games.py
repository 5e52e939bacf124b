"""The games of ``bso_lib.regret`` in figures and in the ledger: means over seeds, inequalities, rates.

A game is a table of :func:`bso_lib.regret.play.regret_of`: one problem, one learner, a row per seed and checkpoint.
"""

import pandas as pd

from bso_lib.companion.ledger import at_most_rate, judge
from bso_lib.companion.registry import CLAIMS
from bso_lib.companion.row import Row
from bso_lib.companion.stills import COLORS
from bso_lib.regret.learners import IN_WORDS
from bso_lib.regret.play import fit_slope

COIN_LOOK = {"color": COLORS["trace"], "marker": "h"}  # of the random threshold, which is no method of METHOD_LOOK


def in_words(learner: str) -> str:
    """Return the name of a learner with its reading of the decay in words."""
    name, _, reading = learner.partition(", ")
    return f"{name}, {IN_WORDS[reading]}" if reading in IN_WORDS else learner


def draw_mean(axis, game: pd.DataFrame, column: str, per: str = "round", **look) -> pd.DataFrame:
    """Draw over the rounds the mean of ``column`` over the seeds, divided by that of ``per``; return what is drawn.

    The axis of rounds becomes logarithmic. The table has a row per checkpoint: both means and the ratio, ``drawn``.
    """
    mean = game.groupby("round").mean(numeric_only=True).reset_index()
    mean["drawn"] = mean[column] / mean[per]
    axis.plot(mean["round"], mean["drawn"], **look)
    axis.set(xscale="log", xlabel="rounds $K$")
    return mean[list(dict.fromkeys(["round", column, per, "drawn"]))]


def largest_ratio(game: pd.DataFrame) -> float:
    """Return the largest mean regret at a checkpoint in units of the right-hand side of Eq. 15 or 16, as printed."""
    mean = game.groupby("round")[["regret", "right_hand_side"]].mean()
    return float((mean["regret"] / mean["right_hand_side"]).max())


def inequality(claim_id: str, game: pd.DataFrame) -> Row:
    """Return the row of a claim that the mean regret of ``game`` is at most the right-hand side of Eq. 15 or 16."""
    ratio = largest_ratio(game)
    slopes = " and ".join(str(fit_slope(game, column)) for column in ("regret", "right_hand_side"))
    ours = f"R(K) up to {ratio:,.2f} times the right-hand side; slopes {slopes}"
    test = "R(K) at most the right-hand side as printed, at all checkpoints"
    return judge(claim_id, ratio <= 1, ours, _conditions(game), test)


def rate(claim_id: str, game: pd.DataFrame, column: str = "regret", name: str = "R(K)") -> Row:
    """Return the row of a claim on the slope of ``column``, called ``name``, over the rounds on log-log axes."""
    slope, claim = fit_slope(game, column), CLAIMS[claim_id]
    test = f"95 % interval of the slope below {claim.margin + claim.absolute:g}; above {claim.margin:g} refutes"
    passed = at_most_rate(claim_id, slope.low, slope.high)
    return judge(claim_id, passed, f"slope of {name}: {slope}", _conditions(game), test)


def _conditions(game):
    told = game.iloc[0]
    rounds, seeds = game["round"].max(), game["seed"].nunique()
    return f"{told['problem']} losses, {told['learner']}, d = {told['dimension']}, K = {rounds}, {seeds} seeds"
