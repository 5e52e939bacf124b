"""The random threshold in a small network, beside BSO and T-BSO tuned alike, and how badly momentum tracks in each.

    python -m bso_lib.regret.network_study --out notebooks/evidence/random-threshold.csv

Each method has the same six candidates, tried with one seed on held-out training images; the best is trained with the
seeds that are reported and scored on the test images, with the first of them also under two other schedules. All
candidates stay in the table: they are the cases over which to ask whether the tracking term foretells accuracy.
"""

import argparse
import itertools
import platform
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from bso_lib.data.stored import write_atomically
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.machine import digits_depend_on
from bso_lib.measure.network_tracking import network_tracking
from bso_lib.regret.random_threshold import RandomThreshold
from bso_lib.terminal.progress import Progress
from bso_lib.terminal.refusals import stoppable

METHODS = ("BSO", "T-BSO", "random threshold")
GAMMAS, STEPS = (5e-9, 5e-8, 5e-7), (1e-3, 3e-3)  # of every method: gamma, and 1 - beta
TUNING_SEED = 100
SCHEDULES = ("constant", "inverse-sqrt")  # besides that of the tuning
BASE = RunConfig(
    dataset="fashion-mini", width=0.0625, train_size=2000, epochs=5, batch_size=50, time_steps=2,
    batch_norm="per-step", schedule="cosine", arithmetic="exact", device="cpu",
)  # fmt: skip


def track(method: str, base: RunConfig, gamma: float, step: float) -> pd.DataFrame:
    """Return :func:`bso_lib.measure.network_tracking.network_tracking` of a method of :data:`METHODS`."""
    config = replace(base, method="t-bso" if method == "T-BSO" else "bso", gamma=gamma, beta1=1 - step)
    coin = partial(RandomThreshold, gamma=gamma, beta=1 - step, seed=base.seed, exact=base.exact)
    table = network_tracking(config, coin if method == "random threshold" else None)
    settings = {"gamma": gamma, "step": step, "seed": base.seed, "scored": base.evaluate_on, "schedule": base.schedule}
    where = {"machine": str(digits_depend_on("cpu")), "torch": torch.__version__, "python": platform.python_version()}
    return table.assign(method=method, **settings, **where)


def final(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per run: the accuracy after its last epoch, and means over layers and epochs of the rest."""
    keys = ["method", "scored", "schedule", "gamma", "step", "seed"]
    runs = table.sort_values("epoch", kind="stable").groupby(keys, sort=False)
    return runs.agg(
        accuracy=("accuracy", "last"), tracking=("tracking", "mean"), cosine=("cosine", "mean"), flips=("flips", "mean")
    ).reset_index()


def study(base: RunConfig = BASE, seeds=(0, 1, 2, 3, 4), methods=METHODS, gammas=GAMMAS, steps=STEPS) -> pd.DataFrame:
    """Return the rows of all candidates and, per method, of the best one's runs with ``seeds``."""
    tables = []
    for method in methods:
        tuning = replace(base, seed=TUNING_SEED, evaluate_on="validation")
        settings = Progress(list(itertools.product(gammas, steps)), desc=method)
        tried = pd.concat(track(method, tuning, gamma, step) for gamma, step in settings)
        best = final(tried).sort_values("accuracy", kind="stable").iloc[-1]
        tables.append(tried)
        reported = [replace(base, seed=seed) for seed in seeds]
        reported += [replace(base, seed=seeds[0], schedule=schedule) for schedule in SCHEDULES]
        tables += [track(method, config, best["gamma"], best["step"]) for config in reported]
    return pd.concat(tables, ignore_index=True)


def main():
    parser = argparse.ArgumentParser(prog="python -m bso_lib.regret.network_study", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .csv to write")
    out = parser.parse_args().out
    table = study()
    write_atomically(out, table.to_csv(index=False, float_format="%.6g").encode())
    print(final(table).to_string())


if __name__ == "__main__":
    stoppable(main, "bso_lib.regret.network_study")
