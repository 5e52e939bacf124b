"""The search of settings, its equal effort, and the committed result of it."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from bso_lib.experiment.config import RunConfig
from bso_lib.sweep import tuning
from bso_lib.sweep.comparison import METHODS, method_config
from bso_lib.sweep.tuning import (
    CANDIDATES,
    COLUMNS,
    SEARCH,
    SETTINGS,
    Coordinate,
    at_the_edge,
    best_settings,
    read_candidates,
    trials,
    tune,
    tuned_settings,
)

TABLES = sorted((Path(__file__).parents[2] / "notebooks" / "tuning").glob("*.csv"))
FORMER = {"fashion-events", "spoken-mini"}  # of the grid before this search, until make tune has run for them
COMPARED = {"FP, BPTT", "FP, OTTT", "FP, NDOT", "STE + BPTT", "STE + OTTT", "BSO", "T-BSO"}  # in notebook 04
SCALE = "--time-steps 1 --width 0.0625 --epochs 1 --train-size 100 --batch-size 50 --seed 107"
TINY = RunConfig(
    train_size=100, width=1 / 16, time_steps=1, batch_norm="per-step", epochs=1, batch_size=50, device="cpu", seed=107
)


def search(coordinates, judge):
    """Search to the end where ``judge`` gives each setting's accuracy; return the trials and how many stages waited."""
    known, waits = {}, 0
    while True:
        found = trials(coordinates, known)
        asked = [trial.settings for trial in found if trial.settings not in known]
        if not asked:
            return found, waits
        known |= {settings: judge(settings) for settings in asked}
        waits += 1


@pytest.mark.parametrize("method", SEARCH)
def test_a_search_tries_every_coordinate_on_both_sides_and_ends_in_time(method):
    draws = [random.Random(seed).random for seed in range(20)]
    judges = [lambda s, d=d: d() for d in draws] + [lambda s: 5.0, lambda s: s[0], lambda s: -s[-1], lambda s: math.nan]
    for judge in judges:
        found, waits = search(SEARCH[method], judge)
        assert len({trial.settings for trial in found}) == len(found) <= CANDIDATES
        assert waits == found[-1].stage <= 8
        tried = {c.name: {trial.settings[i] for trial in found} for i, c in enumerate(SEARCH[method])}
        assert len(found) == CANDIDATES or all(len(values) >= 3 for values in tried.values())
        assert [trial.stage for trial in found] == sorted(trial.stage for trial in found)


def test_all_candidates_are_settings_of_their_methods():
    for label, fields in METHODS.items():
        coordinates = SEARCH[fields["method"]]
        assert {c.name for c in coordinates} <= set(SETTINGS)
        for trial in search(coordinates, lambda s: 1.0)[0]:
            method_config(RunConfig(), label, **dict(zip((c.name for c in coordinates), trial.settings, strict=True)))


def test_the_search_finds_a_peak_within_its_reach():
    two = (Coordinate("latent_lr", 10.0, 10.0), Coordinate("lr", 0.1))
    judge = lambda s: -abs(math.log10(s[0]) - 3) - abs(math.log10(s[1]) + 0.5)  # noqa: E731
    found, _ = search(two, lambda s: 50 + judge(s))
    assert max(found, key=lambda trial: judge(trial.settings)).settings == (1000.0, 0.32)
    # by hand: five of latent_lr, of which the largest is best, so one more; then lr, whose upper neighbour is best
    assert [t.settings for t in found] == [
        (10.0, 0.1), (1.0, 0.1), (100.0, 0.1), (0.1, 0.1), (1000.0, 0.1), (10000.0, 0.1), (1000.0, 0.032),
        (1000.0, 0.32), (1000.0, 1.0),
    ]  # fmt: skip


def test_of_equals_the_first_tried_stays_and_divergence_loses():
    one = (Coordinate("lr", 0.1),)
    flat, _ = search(one, lambda s: 50.0)
    assert {trial.settings for trial in flat} == {(0.1,), (0.032,), (0.32,), (0.01,), (1.0,)}  # the centre stays best
    diverging, _ = search(one, lambda s: math.nan if s[0] >= 0.1 else 50.0)
    assert max(diverging, key=lambda trial: trial.settings[0] < 0.1).settings == (0.032,)  # the first that did not
    assert len(diverging) == 5


def test_decays_are_searched_as_what_they_leave_and_written_shortly():
    beta = Coordinate("beta1", 1e-3)
    assert [beta.value(k) for k in (-1, 0, 1, 2)] == [0.99968, 0.999, 0.9968, 0.99]
    assert Coordinate("gamma", 5e-7, 10.0).value(-1) == 5e-8


@pytest.mark.parametrize("path", [p for p in TABLES if p.stem not in FORMER], ids=lambda path: path.stem)
def test_a_committed_tuning_is_this_search_on_validation_data(path):
    table = pd.read_csv(path)
    assert tuple(table.columns) == COLUMNS
    assert set(table["method"]) >= (COMPARED if path.stem == "fashion-mini" else set())
    for label in table["method"].unique():
        rows = table[table["method"] == label]
        coordinates = SEARCH[METHODS[label]["method"]]
        accuracy = {
            tuple(float(f"{row[c.name]:.12g}") for c in coordinates): row["validation_accuracy"]
            for row in rows.to_dict("records")
        }
        found = trials(coordinates, accuracy)
        assert [t.settings for t in found] == list(accuracy), label
        assert set(best_settings(table, label)) == {c.name for c in coordinates}
    assert path.stem.startswith(table["dataset"].unique().item())
    assert set(table["arithmetic"]) == {"exact"}
    assert table["seed"].min() >= 100  # no seed that is reported


def test_best_settings_takes_the_best_that_did_not_diverge():
    table = pd.DataFrame(
        {
            "method": ["BSO"] * 3 + ["FP, BPTT"],
            "gamma": [0.1, 0.2, 0.3, float("nan")],
            "beta1": [0.9, 0.99, 0.9990000000000001, float("nan")],
            "lr": [float("nan")] * 3 + [0.5],
            "validation_accuracy": [70.0, 80.0, float("nan"), 60.0],
        }
    )
    assert best_settings(table, "BSO") == {"gamma": 0.2, "beta1": 0.99}
    assert best_settings(table, "FP, BPTT") == {"lr": 0.5}
    assert at_the_edge(table, "BSO") == []
    assert at_the_edge(table, "FP, BPTT") == ["lr"]
    table.loc[2, "validation_accuracy"] = 90.0
    assert best_settings(table, "BSO") == {"gamma": 0.3, "beta1": 0.999}  # as it was written, not as it was read
    assert at_the_edge(table, "BSO") == ["gamma", "beta1"]
    with pytest.raises(ValueError, match=r"no tuned settings for 'T-BSO'.*make tune"):
        best_settings(table, "T-BSO")


def test_settings_that_are_given_need_no_candidates():
    table = pd.DataFrame({"method": ["STE + OTTT"], "latent_lr": [10.0], "lr": [0.1], "validation_accuracy": [80.0]})
    paper = {"lr": 0.2, "gamma": 5e-7, "beta1": 0.999}
    found = tuned_settings(table, ["STE + OTTT", "BSO"], {"BSO": paper, "STE + OTTT": {"lr": 0.3}})
    assert found == {"STE + OTTT": {"latent_lr": 10.0, "lr": 0.3}, "BSO": paper}
    with pytest.raises(ValueError, match="no tuned settings for 'BSO'"):
        tuned_settings(table, ["BSO"], {"BSO": {"lr": 0.2, "gamma": 5e-7}})


def test_a_table_that_is_not_there_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv: no such table of candidates; make tune .* PROFILE=paper"):
        read_candidates(tmp_path / "none.csv")


def test_the_paper_profile_searches_what_the_paper_leaves_open_at_its_scale(monkeypatch, tmp_path, capsys):
    asked = {}
    monkeypatch.setattr(tuning, "tune", lambda base, out, *_: asked.setdefault(out, base) and pd.read_csv(TABLES[-1]))
    options = "--dataset cifar10 --width 1 --epochs 40 --batch-norm shared --schedule constant --arithmetic float32"
    command = ["tuning", "--out", str(tmp_path / "t.csv"), *options.split(), "--augment", "crop", "flip"]
    monkeypatch.setattr("sys.argv", [*command, "--methods", "STE + OTTT"])
    tuning.main()
    (base,) = asked.values()
    assert (base.width, base.batch_norm, base.schedule, base.augment) == (1.0, "shared", "constant", ("crop", "flip"))
    assert (base.arithmetic, base.device) == ("float32", "auto")
    assert capsys.readouterr().out.startswith("STE + OTTT: {")


def test_a_data_set_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_DATA", str(tmp_path))
    command = [sys.executable, "-m", "bso_lib.sweep.tuning", "--out", tmp_path / "t.csv", "--dataset", "cifar10"]
    done = subprocess.run([*command, "--methods", "STE + OTTT"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("bso_lib.sweep.tuning: cifar10 not found")
    assert done.stderr.count("\n") == 1


class Now:
    """An executor that computes at once, here."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_tune_trains_on_validation_splits_reports_divergence_and_computes_nothing_twice(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning, "single_threads", lambda processes: Now())
    seen = []

    origin = {"seconds": 1.0, "device": "cpu, 1 threads", "torch": "t", "python": "p"}

    def run(config, **options):
        seen.append(config)
        if config.lr >= 1:
            raise ArithmeticError("diverged")
        return SimpleNamespace(accuracy=100 - abs(config.lr - 0.05), provenance=origin)

    monkeypatch.setattr(tuning, "run", run)
    out = tmp_path / "table.csv"
    table = tune(TINY, out, ["FP, OTTT", "T-BSO"])
    assert {c.evaluate_on for c in seen} == {"validation"}
    assert {c.seed for c in seen} == {107}
    number = len(table)
    assert len(seen) == number > 10
    assert table.loc[table["lr"] >= 1, "validation_accuracy"].isna().all()
    assert table["validation_accuracy"].notna().sum() > number / 2
    assert best_settings(table, "FP, OTTT")["lr"] == 0.032
    written = out.read_text()
    again = tune(TINY, out, ["FP, OTTT", "T-BSO"])
    assert len(seen) == number
    assert out.read_text() == written
    assert best_settings(again, "T-BSO") == best_settings(table, "T-BSO")
    kept = pd.read_csv(out).iloc[:-5]
    kept.to_csv(out, index=False)
    tune(TINY, out, ["T-BSO", "FP, OTTT"])  # in any order
    assert len(seen) == number + 5
    assert out.read_text() == written
    for change, told in (
        ({"width": 1 / 8}, "has width 0.0625, asked is 0.125: give another file or delete it"),
        ({"seed": 1}, "has seed 107, asked is 1"),
    ):
        with pytest.raises(ValueError, match=told):
            tune(RunConfig(**{**vars(TINY), **change}), out)
    for column, value, told in (
        ("lr", 0.77, "candidates of '.*' that this search does"),
        ("method", "X", "method 'X'"),
    ):
        changed = kept.copy()
        changed.loc[0, column] = value
        changed.to_csv(out, index=False)
        with pytest.raises(ValueError, match=told):
            tune(TINY, out)


def _started(out, tmp_path):
    command = [sys.executable, "-m", "bso_lib.sweep.tuning", "--out", out, *SCALE.split(), "--processes", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    env = os.environ | {"BSO_CACHE": str(tmp_path / "runs")}
    return subprocess.Popen([*command, "--methods", "FP, OTTT"], env=env, **pipes)


def test_the_command_tunes_what_it_is_told_and_goes_on_after_it_was_ended(tmp_path):
    out = tmp_path / "table.csv"
    first = _started(out, tmp_path)
    until = time.monotonic() + 300
    while not out.exists() and time.monotonic() < until:
        time.sleep(0.2)
    first.send_signal(signal.SIGTERM)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "the same command goes on from here" in told
    early = pd.read_csv(out)
    assert len(early) > 0
    said, told = _started(out, tmp_path).communicate(timeout=300)
    table = pd.read_csv(out)
    assert 5 <= len(table) <= CANDIDATES
    assert set(table["device"]) == {"cpu, 1 threads"}
    assert told.count("FP, OTTT (") <= len(table) - len(early)
    assert said.startswith("FP, OTTT: {'lr':")
    expected = {"method": "FP, OTTT", "stage": 1, "coordinate": "lr", "lr": 0.1, "dataset": "fashion-mini",
                "width": 0.0625, "time_steps": 1, "epochs": 1, "train_size": 100, "batch_size": 50,
                "arithmetic": "exact", "seed": 107}  # fmt: skip
    assert {name: table.iloc[0][name] for name in expected} == expected
