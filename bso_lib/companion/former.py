"""The calls that notebooks made before verdicts were computed from intervals. They go with the last notebook moved."""

import math
from collections.abc import Sequence
from statistics import mean, stdev

from bso_lib.companion.registry import CLAIMS
from bso_lib.companion.row import Row

VERDICTS = ("holds", "holds at reduced scale", "does not hold", "false as stated", "never acted", "not run")
RENAMED = {"t-bso-below-fp-ndot": "t-bso-near-fp-ndot", "events-t-bso-above-fp-online": "events-t-bso-above-fp-ndot"}


def formerly(claim_id, passed, ours, conditions, test, paper_scale):
    """Return the row of a claim that is not decided at once, in the former words."""
    claim = CLAIMS[claim_id]
    if not passed:
        verdict = "false as stated" if claim.universal else "does not hold"
    else:
        verdict = "holds" if paper_scale else "holds at reduced scale"
    return Row(claim_id, ours, conditions, test, verdict)


def never_acted(claim_id: str, conditions: str, runs: int) -> Row:
    """Return the row of a switch that changed no digit of its ``runs``: they say nothing on what it would do."""
    ours = f"equal to the last digit in {runs} of {runs} runs"
    return Row(claim_id, ours, conditions, "a switch has to change something to be judged", "never acted")


def above(a: Sequence[float], b: Sequence[float]) -> tuple[bool, str, str]:
    """Test whether every seed of ``a`` lies above every seed of ``b``. Return (passed, our value, the test)."""
    chance = 1 / math.comb(len(a) + len(b), len(a))
    return min(a) > max(b), _difference(a, b), f"every seed above every seed (by chance: {chance:.0%})"


def within(a: Sequence[float], b: Sequence[float], margin: float) -> tuple[bool, str, str]:
    """Test whether the mean of ``a`` lies at most ``margin`` points below that of ``b``; return as :func:`above`."""
    words = f"mean at most {margin:g} point below" if margin else "mean not below"
    return mean(a) >= mean(b) - margin, _difference(a, b), words


def _spread(values):
    deviation = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{deviation} % (n = {len(values)})"


def _difference(a, b):
    return f"{mean(a) - mean(b):+.2f} points: {_spread(a)} against {_spread(b)}"
