"""A row of the ledger: what was found on one claim, from which runs, and the verdict."""

from dataclasses import dataclass

REDUCED = "here (reduced scale)"
VERDICTS = (
    "supported", f"supported {REDUCED}", "undecided", f"contradicted {REDUCED}", "contradicted",
    "holds", "does not hold", "false as stated", "never acted", "not run",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What we found on one claim: our value and its conditions, the test applied, and the verdict.

    Where seeds decide: ``n`` of them, the ``difference`` (or other estimand), its 95 % interval ``low`` to ``high``,
    the one at Holm's level ``family_low`` to ``family_high`` that the verdict reads, and the seeds that would decide
    what is undecided. Of several points these are of the one that contradicts the claim most surely or, where none
    does, of the one nearest to the other side. ``runs``: keys of the runs.
    """

    id: str
    ours: str
    conditions: str
    test: str
    verdict: str
    n: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    family_low: float | None = None
    family_high: float | None = None
    seeds_needed: str = ""
    runs: tuple[str, ...] = ()
