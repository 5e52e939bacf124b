"""The replication ledger: every claim of the paper we test is one row, and its verdict is computed, never typed.

A notebook calls :func:`record` with what it measured; the rows lie beside the figures, one file per notebook, so that
notebooks can run side by side. :func:`ledger` joins them with the registry, ``bso_lib.companion.registry.CLAIMS``: what
nobody recorded is "not run".
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev

import pandas as pd

from bso_lib.companion.registry import CLAIMS
from bso_lib.data.stored import write_atomically
from bso_lib.experiment.paths import figures_folder

VERDICTS = ("holds", "holds at reduced scale", "does not hold", "false as stated", "never acted", "not run")


@dataclass(frozen=True)
class Row:
    """What we found on one claim: our value and its conditions, the test applied, and the verdict."""

    id: str
    ours: str
    conditions: str
    test: str
    verdict: str


def judge(claim_id: str, passed: bool, ours: str, conditions: str, test: str, paper_scale: bool = False) -> Row:
    """Return the ledger row of a claim whose ``test`` came out as ``passed``.

    Only exact claims and runs at ``paper_scale`` can get the verdict "holds". A universal claim that failed anywhere is
    "false as stated". Raises ValueError for an unknown id.
    """
    if claim_id not in CLAIMS:
        raise ValueError(f"claim {claim_id!r} is not in bso_lib.companion.registry.CLAIMS")
    if not passed:
        verdict = "false as stated" if CLAIMS[claim_id].universal else "does not hold"
    else:
        verdict = "holds" if paper_scale or CLAIMS[claim_id].exact else "holds at reduced scale"
    return Row(claim_id, ours, conditions, test, verdict)


def never_acted(claim_id: str, conditions: str, runs: int) -> Row:
    """Return the row of a switch that changed no digit of its ``runs``: they say nothing on what it would do."""
    ours = f"equal to the last digit in {runs} of {runs} runs"
    return Row(claim_id, ours, conditions, "a switch has to change something to be judged", "never acted")


def spread(values: Sequence[float]) -> str:
    """Return "mean ± standard deviation (n)" of percentages; no deviation for a single value."""
    deviation = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{deviation} % (n = {len(values)})"


def above(a: Sequence[float], b: Sequence[float]) -> tuple[bool, str, str]:
    """Test whether ``a`` lies above ``b``: every seed above every seed. Return (passed, our value, the test in words).

    The chance to pass without any true difference is n_a! n_b! / (n_a + n_b)!, and the words tell it: with two seeds
    each, passing is weak evidence.
    """
    chance = 1 / math.comb(len(a) + len(b), len(a))
    return min(a) > max(b), _difference(a, b), f"every seed above every seed (by chance: {chance:.0%})"


def within(a: Sequence[float], b: Sequence[float], margin: float) -> tuple[bool, str, str]:
    """Test whether the mean of ``a`` lies at most ``margin`` points below that of ``b``; return as :func:`above`."""
    words = f"mean at most {margin:g} point below" if margin else "mean not below"
    return mean(a) >= mean(b) - margin, _difference(a, b), words


def _difference(a, b):
    return f"{mean(a) - mean(b):+.2f} points: {spread(a)} against {spread(b)}"


def judge_accuracy(claim_id: str, values: Sequence[float], conditions: str) -> Row:
    """Return the row on one published accuracy, measured at the paper's own scale.

    The test: our mean lies within one point of the published value, or above it.
    """
    number = float(CLAIMS[claim_id].published.removesuffix(" %"))
    test = "mean not more than one point below the published value"
    return judge(claim_id, mean(values) >= number - 1, spread(values), conditions, test, paper_scale=True)


def describe(rows: Sequence[Row]) -> str:
    """Return Markdown that says, claim by claim, what holds and what does not."""
    lines = []
    for row in rows:
        claim = CLAIMS[row.id]
        lines.append(
            f"- **{row.verdict}**: {claim.statement} ({claim.place}). Published: {claim.published}. Ours: {row.ours}. "
            f"Test: {row.test}. Conditions: {row.conditions}."
        )
    return "\n".join(lines)


def record(stem: str, profile: str, rows: Sequence[Row]):
    """Write ``rows``, the findings of notebook ``stem`` under ``profile``, replacing its earlier ones."""
    folder = figures_folder(profile)
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    write_atomically(folder / f"{stem}.claims.json", f"{content}\n".encode())


def ledger(profile: str) -> pd.DataFrame:
    """Return the whole ledger of ``profile``: a row per claim of the registry, "not run" where nothing was recorded.

    Raises ValueError if a file holds a claim or a verdict we do not know, or two notebooks record the same claim.
    """
    found = {}
    for path in sorted(figures_folder(profile).glob("*.claims.json")):
        for fields in json.loads(path.read_text(encoding="utf-8")):
            row = Row(**fields)
            if row.id not in CLAIMS or row.verdict not in VERDICTS or row.id in found:
                raise ValueError(f"{path}: claim {row.id!r}, verdict {row.verdict!r}: unknown, or recorded twice")
            found[row.id] = row
    rows = []
    for claim in CLAIMS.values():
        row = found.get(claim.id, Row(claim.id, "", "", "", "not run"))
        rows.append({**asdict(claim), **asdict(row)})
    return pd.DataFrame(rows).drop(columns=["exact", "universal"])


def counts(table: pd.DataFrame) -> str:
    """Return how many claims got each verdict, in words."""
    number = table["verdict"].value_counts()
    return ", ".join(f"{number[verdict]} {verdict}" for verdict in VERDICTS if verdict in number)


def markdown(table: pd.DataFrame, columns: Sequence[str]) -> str:
    """Return ``columns`` of ``table`` as a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in table[list(columns)].itertuples(index=False):
        lines.append("| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |")
    return "\n".join(lines)
