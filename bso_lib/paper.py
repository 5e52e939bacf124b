"""What the paper says: its published numbers, and the registry of its claims.

The tables under ``bso_lib/published`` are copies of the paper's. :data:`CLAIMS` has one entry per claim that the ledger
(``bso_lib.claims``) judges; where a claim has a number, it is read from the tables.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

OUR_METHODS = ("FP-SNN", "OTTT", "NDOT", "BSO", "T-BSO")  # the rows of Table 2 that this companion can run


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: its ``id``, ``place``, ``statement`` and ``published`` value.

    ``exact``: arithmetic that does not depend on training, so that it can hold at any scale.
    """

    id: str
    place: str
    statement: str
    published: str
    exact: bool = False


def published(name: str) -> pd.DataFrame:
    """Return the paper's table ``name`` ("table2", "figure5", "hyperparameters")."""
    return pd.read_csv(Path(__file__).parent / "published" / f"{name}.csv")


def table2(dataset: str, method: str, time_steps: int, column: str = "accuracy_percent") -> float:
    """Return one number of Table 2; raises ValueError if it has no such row, or several."""
    table = published("table2")
    rows = table[(table["dataset"] == dataset) & (table["method"] == method) & (table["time_steps"] == time_steps)]
    if len(rows) != 1:
        raise ValueError(f"Table 2 has {len(rows)} rows for {dataset}, {method}, T = {time_steps}")
    return float(rows[column].iloc[0])


def figure5(method: str, time_steps: int) -> float:
    """Return one accuracy of Fig. 5 in percent."""
    table = published("figure5").set_index(["method", "time_steps"])["accuracy_percent"]
    return float(table[method, time_steps])


def _statements():
    def gap(a, b):
        return f"{a - b:+.2f} points"

    bso, tbso = (table2("CIFAR-10", method, 2) for method in ("BSO", "T-BSO"))
    tbso6, qsnn, fp, ndot = (table2("CIFAR-10", method, 6) for method in ("T-BSO", "Q-SNN", "FP-SNN", "NDOT"))
    where = "CIFAR-10"
    yield Claim("t-bso-above-bso", "Table 2", "T-BSO is more accurate than BSO", f"{gap(tbso, bso)}, {where}, T = 2")
    yield Claim(
        "t-bso-above-latent-bptt", "Table 2", "T-BSO is more accurate than latent binary weights trained by BPTT",
        f"{gap(tbso6, qsnn)}, {where}, T = 6 (Q-SNN)",
    )  # fmt: skip
    yield Claim(
        "latent-weights-not-needed", "Sec. 4.1",
        "latent weights are not needed: T-BSO stays within one point of latent weights trained online", "no number",
    )  # fmt: skip
    yield Claim(
        "t-bso-reaches-fp-bptt", "Table 2", "T-BSO is at least as accurate as full precision trained by BPTT",
        f"{gap(tbso6, fp)}, {where}, T = 6",
    )  # fmt: skip
    yield Claim(
        "t-bso-below-fp-ndot", "Table 2", "T-BSO stays within one point of full precision trained online by NDOT",
        f"{gap(tbso6, ndot)}, {where}, T = 6",
    )  # fmt: skip
    for method in ("BSO", "T-BSO"):
        rise = gap(figure5(method, 12), figure5(method, 2))
        statement = f"{method} gains accuracy with more time steps"
        yield Claim(f"{method.lower()}-rises-with-t", "Fig. 5", statement, f"{rise}, CIFAR-100, T = 2 to 12")
    smallest = min(figure5("T-BSO", t) - figure5("BSO", t) for t in (2, 4, 6, 8, 10, 12))
    yield Claim(
        "t-bso-above-bso-at-every-t", "Fig. 5", "T-BSO is more accurate than BSO at every number of time steps",
        f"{smallest:+.2f} points or more, CIFAR-100",
    )  # fmt: skip


def _sizes():
    for dataset in ("CIFAR-10", "CIFAR-100"):
        for method, kind in (("T-BSO", "binary"), ("FP-SNN", "full-precision")):
            size = table2(dataset, method, 6, "model_size_mb")
            yield Claim(
                f"size-{dataset.lower()}-{kind}", "Table 2", f"size of the {kind} VGG-11 for {dataset}",
                f"{size:.2f} MB", exact=True,
            )  # fmt: skip


def accuracy_id(dataset: str, method: str, time_steps: int, place: str = "table2") -> str:
    """Return the id of the claim on one published accuracy."""
    return f"{place}-{dataset}-{method}-t{time_steps}".lower()


def _accuracies():
    for row in published("table2").itertuples():
        if row.method in OUR_METHODS:
            yield Claim(
                accuracy_id(row.dataset, row.method, row.time_steps), "Table 2",
                f"accuracy of {row.method}, {row.architecture}, {row.dataset}, T = {row.time_steps}",
                f"{row.accuracy_percent:.2f} %",
            )  # fmt: skip
    for row in published("figure5").itertuples():
        yield Claim(
            accuracy_id("CIFAR-100", row.method, row.time_steps, "figure5"), "Fig. 5",
            f"accuracy of {row.method}, VGG-11, CIFAR-100, T = {row.time_steps}", f"{row.accuracy_percent:.2f} %",
        )  # fmt: skip


CLAIMS = {claim.id: claim for claim in (*_statements(), *_sizes(), *_accuracies())}
