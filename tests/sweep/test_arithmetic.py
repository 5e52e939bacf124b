"""The comparison of arithmetics: rows that are there are kept, differences are paired by seed."""

import pandas as pd
import pytest

from bso_lib.experiment.config import RunConfig
from bso_lib.sweep.arithmetic import compare, paired


def test_differences_are_paired_by_seed():
    exact, single = [85.0, 84.0, 86.0], [84.0, 84.5, 85.0]
    rows = [("BSO", kind, s, a) for kind, found in (("exact", exact), ("float32", single)) for s, a in enumerate(found)]
    rows.append(("BSO", "exact", 7, 10.0))  # has no partner yet
    table = pd.DataFrame(rows, columns=["method", "arithmetic", "seed", "accuracy"])
    (row,) = paired(table).itertuples()
    assert (row.method, row.n, row.difference) == ("BSO", 3, 0.5)
    half = 4.302653 * (0.75 / 3) ** 0.5  # the t quantile of 2 degrees of freedom; the differences' variance is 0.75
    assert (row.low, row.high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)
    (single,) = paired(table[table["seed"] == 0]).itertuples()
    assert single.difference == 1
    assert single.low != single.low


def test_a_table_is_added_to(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cache"))
    base = RunConfig(width=1 / 64, train_size=20, batch_size=10, epochs=1, batch_norm="per-step", record_flips=False)
    settings = {"BSO": {"method": "bso", "gamma": 1e-6, "beta1": 0.99}}
    out = tmp_path / "table.csv"
    compare(base, settings, [1], ("float32", "exact"), out)
    first = pd.read_csv(out)
    assert first[["method", "arithmetic", "seed"]].values.tolist() == [["BSO", "exact", 1], ["BSO", "float32", 1]]
    assert first["checksum"].str.len().tolist() == [64, 64]
    first.loc[0, "accuracy"] = -1  # would be computed anew, if rows were
    first.to_csv(out, index=False)
    compare(base, settings, [0, 1], ("exact",), out)
    table = pd.read_csv(out)
    assert table[["arithmetic", "seed"]].values.tolist() == [["exact", 0], ["exact", 1], ["float32", 1]]
    assert table["accuracy"][1] == -1
