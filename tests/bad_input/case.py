"""What one row of the table of bad input is, and the short forms that the tables are written in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Bad input and what is expected of it.

    ``subject``: the name, field, key or command it is given to; ``given``: Python source, a command line or YAML, as a
    reader would write it; ``refused``: the exception's name, or "status 2"; ``words``: parts of the one line it gets.
    """

    subject: str
    given: str
    refused: str
    words: tuple[str, ...]

    def __str__(self):
        return f"{self.subject}: {self.given}"[:90]


def rows(subject: str, table) -> list[Case]:
    """Return a case for each (given, refused, words...) of ``table``; ``refused`` "V" and "T": Value- and TypeError."""
    names = {"V": "ValueError", "T": "TypeError"}
    return [Case(subject, given, names.get(refused, refused), tuple(words)) for given, refused, *words in table]
