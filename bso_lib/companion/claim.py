"""What a claim of the paper is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: its ``id``, ``place``, ``statement`` and ``published`` value.

    ``exact``: arithmetic or proof (sizes, bytes, bounds), not training, decides: it can hold under any profile.
    ``universal``: one counterexample makes it false as stated, not merely missed here.
    """

    id: str
    place: str
    statement: str
    published: str
    exact: bool = False
    universal: bool = False
