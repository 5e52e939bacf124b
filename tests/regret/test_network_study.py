"""The study of the random threshold: what is tuned, and what is reported."""

from pathlib import Path

import pandas as pd

from bso_lib.experiment.config import RunConfig
from bso_lib.regret.network_study import BASE, METHODS, final, study


def test_the_study_tunes_all_alike_and_reports_other_seeds():
    base = RunConfig(
        width=1 / 64, train_size=50, batch_size=50, epochs=1, time_steps=2, batch_norm="per-step", device="cpu",
        schedule="cosine", arithmetic="exact",
    )  # fmt: skip
    table = study(base, seeds=(0, 1), methods=("BSO", "random threshold"), gammas=(5e-8, 5e-7), steps=(1e-3,))
    runs = final(table)
    assert runs.groupby(["method", "scored"]).size().tolist() == [4, 2, 4, 2]
    tried = runs[runs["scored"] == "validation"]
    assert set(tried["seed"]) == {100}
    reported = runs[runs["scored"] == "test"]
    assert set(reported["seed"]) == {0, 1}
    assert (reported.groupby("method")["gamma"].nunique() == 1).all()


def test_the_committed_study_has_five_seeds_of_each_method_in_one_arithmetic():
    table = pd.read_csv(Path(__file__).parents[2] / "notebooks" / "evidence" / "random-threshold.csv")
    tested = final(table).query("scored == 'test' and schedule == 'cosine'")
    assert tested.groupby("method")["seed"].apply(set).to_dict() == {m: {0, 1, 2, 3, 4} for m in METHODS}
    assert BASE.exact
