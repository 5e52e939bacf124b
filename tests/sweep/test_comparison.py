"""The methods, their equal tuning, and the committed result of it."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bso_lib.experiment.config import RunConfig
from bso_lib.sweep import comparison, tuning
from bso_lib.sweep.comparison import COLUMNS, METHODS, accuracies, method_config, method_configs, results_table, run_all
from bso_lib.sweep.tuning import GRID, best_settings, tune

TABLE = Path(__file__).parents[2] / "notebooks" / "tuning" / "fashion-mini.csv"
TINY = RunConfig(train_size=200, width=1 / 16, batch_norm="per-step", epochs=1, batch_size=50, device="cpu")


def test_every_method_has_as_many_candidates():
    assert {len(grid) for grid in GRID.values()} == {6}
    for label, fields in METHODS.items():
        for settings in GRID[fields["method"]]:
            assert method_config(RunConfig(), label, **settings).method == fields["method"]
    with pytest.raises(ValueError, match="method label 'Adam': must be one of FP, BPTT"):
        method_config(RunConfig(), "Adam")


@pytest.mark.parametrize("path", sorted(TABLE.parent.glob("*.csv")), ids=lambda path: path.stem)
def test_a_committed_tuning_is_of_this_grid_on_validation_data(path):
    table = pd.read_csv(path)
    labels = METHODS if path == TABLE else table["method"].unique()
    for label in labels:
        rows, grid = table[table["method"] == label], GRID[METHODS[label]["method"]]
        assert len(rows) == len(grid)
        for settings in grid:
            match = rows
            for name, value in settings.items():
                match = match[(match[name] - value).abs() <= 1e-9 * abs(value)]
            assert len(match) == 1, f"{label} {settings}"
        assert set(best_settings(table, label)) == set(grid[0])
    assert set(table["dataset"]) == {path.stem}
    assert set(table["seed"]).isdisjoint({0, 1, 2, 3, 4})  # seeds that are reported


def test_best_settings_takes_the_best_that_did_not_diverge():
    table = pd.DataFrame(
        {
            "method": ["BSO"] * 3 + ["FP, BPTT"],
            "gamma": [0.1, 0.2, 0.3, float("nan")],
            "beta1": [0.9, 0.99, 0.999, float("nan")],
            "lr": [float("nan")] * 3 + [0.5],
            "validation_accuracy": [70.0, 80.0, float("nan"), 60.0],
        }
    )
    assert best_settings(table, "BSO") == {"gamma": 0.2, "beta1": 0.99}
    assert best_settings(table, "FP, BPTT") == {"lr": 0.5}
    with pytest.raises(ValueError, match=r"no tuned settings for 'T-BSO'.*make tune"):
        best_settings(table, "T-BSO")


def test_tune_trains_on_validation_splits_and_reports_divergence(monkeypatch, tmp_path):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    seen = []
    real = tuning.run

    def run(config, **options):
        seen.append(config)
        if config.lr == 1.0:
            raise ArithmeticError("diverged")
        return real(config, **options)

    monkeypatch.setattr(tuning, "run", run)
    monkeypatch.setitem(tuning.GRID, "fp", [{"lr": 0.1}, {"lr": 1.0}])
    table = tune(replace(TINY, seed=100), ["FP, OTTT"], progress=False)
    assert {c.evaluate_on for c in seen} == {"validation"}
    assert table["validation_accuracy"].isna().tolist() == [False, True]
    assert table["lr"].tolist() == [0.1, 1.0]
    assert table["device"].str.startswith("cpu").tolist()[0]  # where it ran stands beside it
    assert set(pd.read_csv(TABLE).columns) >= {"dataset", "seed", "device", "torch", "python"}


def test_the_command_tunes_what_it_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "runs"))
    monkeypatch.setitem(tuning.GRID, "fp", [{"lr": 0.1}])
    out = tmp_path / "table.csv"
    scale = "--time-steps 1 --width 0.0625 --epochs 1 --train-size 100 --batch-size 50 --seed 7"
    monkeypatch.setattr("sys.argv", ["tuning", "--out", str(out), *scale.split(), "--methods", "FP, OTTT"])
    tuning.main()
    (row,) = pd.read_csv(out).to_dict("records")
    expected = {"method": "FP, OTTT", "lr": 0.1, "dataset": "fashion-mini", "width": 0.0625, "time_steps": 1,
                "epochs": 1, "train_size": 100, "seed": 7}  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert "train_size" not in pd.read_csv(TABLE)  # tuned on all images


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
    assert accuracies(results)["BSO"] == table[table["method"] == "BSO"]["accuracy"].tolist()
    assert results["BSO"][0].config.gamma == 0.0
    sizes = table.groupby("method")["size_mb"].first()
    assert sizes["BSO"] < sizes["FP, OTTT"] / 4
    assert results_table({}).empty
    assert comparison.results_table({}).columns.tolist() == list(COLUMNS)
