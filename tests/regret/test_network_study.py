"""The study of the random threshold: what is tuned, and what is reported."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from bso_lib.experiment.config import RunConfig
from bso_lib.regret.network_study import BASE, METHODS, final, study, track


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


def test_the_committed_study_has_five_seeds_of_each_method_and_is_what_the_code_finds():
    table = pd.read_csv(Path(__file__).parents[2] / "notebooks" / "evidence" / "random-threshold.csv")
    tested = final(table).query("scored == 'test' and schedule == 'cosine'")
    assert tested.groupby("method")["seed"].apply(set).to_dict() == {m: {0, 1, 2, 3, 4} for m in METHODS}
    columns = ["layer", "epoch", "accuracy", "flips"]
    best = tested[tested["method"] == "random threshold"].iloc[0]
    there = table[(table["scored"] == "test") & (table["schedule"] == "cosine") & (table["seed"] == best["seed"])]
    there = there[there["method"] == "random threshold"][columns].reset_index(drop=True)
    here = track("random threshold", replace(BASE, seed=int(best["seed"])), best["gamma"], best["step"])[columns]
    pd.testing.assert_frame_equal(here, there, rtol=1e-5)  # the csv has six digits
