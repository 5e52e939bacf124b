"""The replication ledger: every claim is one row, and its verdict is computed, never typed.

What seeds decide is judged by :func:`bso_lib.companion.verdicts.judge_family`, what is decided at once by
:func:`judge` and :func:`judge_number`; what the paper's tables decide needs no notebook. A notebook calls
:func:`record` with its rows; they lie beside the figures, one file per notebook: notebooks can run side by side.
:func:`ledger` joins them with the registry, ``bso_lib.companion.registry.CLAIMS``: what nobody recorded is "not run".
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields

import pandas as pd

from bso_lib.companion.claim import Claim
from bso_lib.companion.questions import Comparison
from bso_lib.companion.registry import CLAIMS
from bso_lib.companion.row import REDUCED, VERDICTS, Row
from bso_lib.companion.table_claims import judged_from_tables
from bso_lib.companion.verdicts import claim_of
from bso_lib.data.stored import write_atomically
from bso_lib.experiment.paths import figures_folder


def judge(claim_id: str, passed: bool | None, ours: str, conditions: str, test: str, runs: Sequence = ()) -> Row:
    """Return the row of a claim that is decided at once and came out as ``passed``; ``runs``: keys of runs behind it.

    A universal claim that failed anywhere is "false as stated". A simulation supports or contradicts "here", and leaves
    undecided with None. Raises ValueError for an unknown id, a claim that seeds or the paper's tables decide, and None
    for one that is no simulation.
    """
    claim = claim_of(claim_id)
    if claim.by_seeds:
        raise ValueError(f"claim {claim_id!r} is decided by seeds: hand its runs to judge_family")
    if claim.kind == "tables":
        raise ValueError(f"claim {claim_id!r} is decided by the paper's tables: no notebook records it")
    if passed is None and claim.kind != "simulation":
        raise ValueError(f"claim {claim_id!r}, passed=None: must be True or False")
    if passed is None:
        verdict = "undecided"
    elif claim.kind == "simulation":
        verdict = f"{'supported' if passed else 'contradicted'} {REDUCED}"
    else:
        verdict = "holds" if passed else "does not hold"
    if claim.universal and passed is not None and not passed:
        verdict = "false as stated"
    return Row(claim_id, ours, conditions, test, verdict, runs=tuple(runs))


def at_most_rate(claim_id: str, low: float, high: float) -> bool | None:
    """Return, for :func:`judge`, whether a slope with this interval is at most the margin of its claim.

    True if the whole interval lies below margin + ``absolute``, False if all of it lies above margin, else None.
    """
    claim = claim_of(claim_id)
    if low > claim.margin:
        return False
    return True if high < claim.margin + claim.absolute else None


def judge_number(claim_id: str, ours: float, conditions: str, note: str = "", runs: Sequence = ()) -> Row:
    """Return the row of a claim on one number: it holds if ``ours`` equals it within the registered tolerance.

    Of two numbers that are printed with two decimals, ours is compared as printed. Raises ValueError for a claim of
    another kind.
    """
    claim = claim_of(claim_id)
    if claim.kind != "number":
        raise ValueError(f"claim {claim_id!r} is of kind {claim.kind!r}, not a number")
    unit = claim.published.split()[-1]
    decimals = len(str(claim.published.split()[0]).partition(".")[2])
    allowed = max(claim.relative * claim.value, claim.absolute)
    passed = abs(round(ours, decimals) - claim.value) <= allowed * (1 + 1e-9)
    said = "; ".join([f"{ours:.{decimals}f} {unit}", *filter(None, [note])])
    return judge(claim_id, passed, said, conditions, claim.criterion, runs=runs)


def describe(rows: Sequence[Row]) -> str:
    """Return Markdown that says, claim by claim, what holds and what does not."""
    lines = []
    for row in rows:
        claim = CLAIMS[row.id]
        lines.append(
            f"- **{row.verdict}**: {claim.statement} ({claim.place}). Published: {claim.published}. Ours: {row.ours}. "
            f"Test: {row.test}. {f'Seeds that would decide: {row.seeds_needed}. ' if row.seeds_needed else ''}"
            f"Conditions: {row.conditions}."
        )
    return "\n".join(lines)


def by_verdict(row: Row, **texts: str) -> str:
    """Return that of ``texts`` whose name is the first word of the row's verdict, such as supported; else otherwise.

    Raises ValueError if there is neither: a generated answer has a sentence for each verdict.
    """
    word = row.verdict.split()[0]
    if word not in texts and "otherwise" not in texts:
        raise ValueError(f"{row.id}: no text for the verdict {row.verdict!r}; there is one for {', '.join(texts)}")
    return texts.get(word, texts.get("otherwise"))


def sentence(row: Row, supported: str, contradicted: str, undecided: str) -> str:
    """Return the one of three clauses that fits the verdict of ``row``, and behind it what seeds measured.

    That is the estimate, the interval that the verdict reads (95 %, wider by Holm's rule) and n; where nothing is
    decided, also the seeds that would decide. Ends with a full stop.
    """
    clause = by_verdict(row, supported=supported, contradicted=contradicted, otherwise=undecided)
    claim = CLAIMS[row.id]
    if row.difference is None:
        return f"{clause}: {row.ours}."
    form, what = ("+.2f", "difference ") if claim.kind in Comparison.kinds else (".2f", "")
    known = row.family_low is not None and row.family_high is not None
    interval = f"interval {row.family_low:{form}} to {row.family_high:{form}}" if known else "no interval"
    needed = f"; seeds that would decide: {row.seeds_needed}" if row.seeds_needed else ""
    return f"{clause}: {what}{row.difference:{form}} {claim.unit} ({interval}, n = {row.n}{needed})."


def record(stem: str, profile: str, rows: Sequence[Row]):
    """Write ``rows``, the findings of notebook ``stem`` under ``profile``, replacing its earlier ones."""
    folder = figures_folder(profile)
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    write_atomically(folder / f"{stem}.claims.json", f"{content}\n".encode())


def ledger(profile: str) -> pd.DataFrame:
    """Return the whole ledger of ``profile``: a row per claim of the registry, "not run" where nothing was recorded.

    Columns: those of the claim, of its row (interval, n, runs), ``party``, and the ``notebook`` that recorded it, ""
    where none did. Where no profile can run a claim, its conditions say why. Raises ValueError if a file holds a claim,
    a verdict or a field we do not know, or two notebooks record the same claim.
    """
    found, notebooks = {row.id: row for row in judged_from_tables()}, {}
    for path in sorted(figures_folder(profile).glob("*.claims.json")):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            row = _row_of(path, entry)
            if row.id not in CLAIMS or row.verdict not in verdicts_of(CLAIMS[row.id]) or row.id in found:
                told = "unknown, recorded twice, or of an older kind: run its notebook again"
                raise ValueError(f"{path}: claim {row.id!r}, verdict {row.verdict!r}: {told}")
            found[row.id], notebooks[row.id] = row, path.name.removesuffix(".claims.json")
    rows = []
    for claim in CLAIMS.values():
        row = found.get(claim.id, Row(claim.id, "", claim.never, "", "not run"))
        told = {name: getattr(claim, name) for name in ("id", "party", "place", "statement", "published")}
        own = {"runs": " ".join(row.runs), "notebook": notebooks.get(claim.id, "")}
        rows.append({**told, **asdict(row), **own})
    return pd.DataFrame(rows)


def _row_of(path, entry):
    known = {field.name for field in fields(Row)}
    if unknown := set(entry) - known:
        raise ValueError(f"{path}: claim {entry.get('id')!r} has unknown fields {', '.join(sorted(unknown))}")
    return Row(**{**entry, "runs": tuple(entry.get("runs", ()))})


def verdicts_of(claim: Claim) -> tuple[str, ...]:
    """Return the verdicts that a recorded row on ``claim`` can have."""
    by_seeds = tuple(v for v in VERDICTS if v.startswith(("supported", "contradicted", "undecided")))
    if claim.by_seeds:
        return (*by_seeds, "never acted")
    return (
        (*by_seeds, "false as stated") if claim.kind == "simulation" else ("holds", "does not hold", "false as stated")
    )


PARTIES = {"paper": "The paper's claims", "companion": "This companion's own promises and questions"}


def parts(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the two ledgers, by heading: the paper's claims and the companion's own, which are counted apart."""
    return {heading: table[table["party"] == party] for party, heading in PARTIES.items()}


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
