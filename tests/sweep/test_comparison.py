"""The methods, and their runs side by side."""

import re

import pytest

from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import evidence_key
from bso_lib.sweep import comparison
from bso_lib.sweep.comparison import COLUMNS, METHODS, accuracies, method_config, method_configs, results_table, run_all

TINY = RunConfig(train_size=200, width=1 / 16, batch_norm="per-step", epochs=1, batch_size=50, device="cpu")


def test_every_label_is_a_method_and_all_train_their_real_parameters_alike():
    alike = {(c.momentum, c.real_schedule) for c in (method_config(RunConfig(), label) for label in METHODS)}
    assert alike == {(0.9, "cosine")}
    with pytest.raises(ValueError, match="method label 'Adam': must be one of FP, BPTT"):
        method_config(RunConfig(), "Adam")


def test_runs_come_back_as_a_table(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    configs = method_configs(TINY, {"BSO": {"gamma": 0.0}, "FP, OTTT": {}}, (0, 1), time_steps=1)
    results = run_all(configs)
    assert re.match(r"4 runs, 0 of them cached; the others take about .* in tensors\n", capsys.readouterr().err)
    again = run_all(configs)
    assert capsys.readouterr().err == "4 runs, all cached\n"
    assert accuracies(again) == accuracies(results)
    table = results_table(results)
    assert tuple(table.columns) == COLUMNS
    assert table["method"].tolist() == ["BSO", "BSO", "FP, OTTT", "FP, OTTT"]
    assert table["seed"].tolist() == [0, 1, 0, 1]
    assert set(table["time_steps"]) == {1}
    assert table["runs"].tolist() == [evidence_key(r.config) for found in results.values() for r in found]
    assert accuracies(results)["BSO"] == table[table["method"] == "BSO"]["accuracy"].tolist()
    assert results["BSO"][0].config.gamma == 0.0
    sizes = table.groupby("method")["size_mb"].first()
    assert sizes["BSO"] < sizes["FP, OTTT"] / 4
    assert results_table({}).empty
    assert comparison.results_table({}).columns.tolist() == list(COLUMNS)
