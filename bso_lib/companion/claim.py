"""What a claim is: who makes it, and by which rule it is judged, all written down before the runs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bso_lib.companion.statistics import FEWEST_SEEDS

PARTIES = ("paper", "companion")
# Decided by an interval over seeds: "supported", "contradicted" or "undecided".
STATISTICAL = ("superiority", "non-inferiority", "equivalence", "robustness", "above", "below", "accuracy")
# Decided at once: "holds", "does not hold" or "false as stated".
DECIDED = ("arithmetic", "number", "measured", "tables")
KINDS = (*STATISTICAL, *DECIDED, "simulation")


@dataclass(frozen=True)
class Claim:
    """A claim: its ``id``, ``place``, ``statement`` and ``published`` value, and how it is judged.

    party       "paper", or "companion" for what this companion promises or asks
    kind        by seeds: "superiority" (the estimand above ``margin``), "non-inferiority" (above -margin),
                "equivalence" (within -+ margin), "robustness" (a range below margin), "above" and "below" (a
                quantity of each seed against margin), "accuracy" (above ``value`` - margin);
                at once: "arithmetic" (or a proof), "number" (equals ``value``), "measured" (on the machine it names),
                "tables" (the paper's own tables, see ``bso_lib.companion.table_claims``);
                "simulation": an example played, which refutes a proof and proves none
    estimand    what is estimated, in ``unit``; seeds: how many are planned for each method and point, at least 5
    margin      also the largest slope of a claim on a rate, which holds up to ``absolute`` more
    value       the published number; equal to it is what differs by at most ``relative`` * value or ``absolute``
    asks        the fields of RunConfig that the claim is about (such as time_steps=2): other runs are "here"
    free        fields of RunConfig that it varies: they do not make a run other than the paper's
    universal   one counterexample makes it false as stated
    never       why no profile of ours can run it, "" if one can
    """

    id: str
    place: str
    statement: str
    published: str = "no number"
    kind: str = "arithmetic"
    party: str = "paper"
    estimand: str = ""
    unit: str = "points"
    margin: float = 0.0
    seeds: int = 0
    value: float | None = None
    relative: float = 0.0
    absolute: float = 0.0
    asks: Mapping = field(default_factory=dict)
    free: tuple[str, ...] = ()
    universal: bool = False
    never: str = ""

    def __post_init__(self):
        wrong = [
            (self.kind not in KINDS, f"kind={self.kind!r}: must be one of {', '.join(KINDS)}"),
            (self.party not in PARTIES, f"party={self.party!r}: must be one of {', '.join(PARTIES)}"),
            (self.by_seeds and not self.estimand, f"estimand: must be said for kind {self.kind!r}"),
            (self.by_seeds and self.seeds < FEWEST_SEEDS, f"seeds={self.seeds}: must be at least {FEWEST_SEEDS}"),
            (self.kind in ("number", "accuracy") and self.value is None, f"value: must be given for {self.kind!r}"),
        ]
        for bad, message in wrong:
            if bad:
                raise ValueError(f"claim {self.id!r}, {message}")

    @property
    def by_seeds(self) -> bool:
        """Whether an interval over seeds decides it."""
        return self.kind in STATISTICAL

    @property
    def region(self) -> tuple[float, float]:
        """The open interval in which the estimand lies if the claim is true."""
        inf, margin = math.inf, self.margin
        return {
            "superiority": (margin, inf), "above": (margin, inf), "non-inferiority": (-margin, inf),
            "equivalence": (-margin, margin), "robustness": (-inf, margin), "below": (-inf, margin),
            "accuracy": ((self.value or 0) - margin, inf),
        }[self.kind]  # fmt: skip

    @property
    def criterion(self) -> str:
        """The rule in words, for the ledger."""
        if self.kind == "number":
            parts = [f"{100 * self.relative:g} %"] * (self.relative > 0) + [f"{self.absolute:g}"] * (self.absolute > 0)
            return f"equal within {' or '.join(parts)}" if parts else "equal"
        if not self.by_seeds:
            return ""
        low, high = self.region
        unit = f" {self.unit}" * bool(self.unit)
        side = f"above {low:g}" if high == math.inf else f"below {high:g}"
        if math.isfinite(low) and math.isfinite(high):
            side = f"from {low:g} to {high:g}"
        return f"{self.estimand} {side}{unit}"
