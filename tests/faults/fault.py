"""What a fault is, how often each is injected, and the list of all that the page is made of."""

import math
import os
from dataclasses import dataclass

FAULTS = []  # in the order of the modules that inject them


@dataclass(frozen=True)
class Fault:
    """A fault and what is expected of it.

    ``subject``: what it befalls; ``what``: the fault; ``quick``, ``all``: how often ``make test`` and ``make torture``
    inject it; ``end``: how it must end.
    """

    subject: str
    what: str
    quick: int
    all: int
    end: str

    @property
    def times(self) -> int:
        """Return how often to inject it now: TORTURE=1 in the environment asks for all, 0.1 for a tenth."""
        return max(self.quick, math.ceil(float(os.environ.get("TORTURE") or 0) * self.all))


def fault(subject: str, what: str, quick: int, all: int, end: str) -> Fault:
    """Return a fault that is also on the page."""
    FAULTS.append(Fault(subject, what, quick, all, end))
    return FAULTS[-1]
