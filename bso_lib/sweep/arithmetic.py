"""What exact arithmetic does to accuracy: the same runs in float32 and exactly, over seeds.

    python -m bso_lib.sweep.arithmetic --out notebooks/evidence/arithmetic.csv        (make arithmetic)

Each method runs at an eighth of the width with the settings of :data:`SETTINGS`, which stay as the first rows were
computed. Every finished run is a row at once, and rows that are there are not computed again, so more seeds are added
to those of before.
"""

import argparse
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
from scipy import stats

from bso_lib.data.stored import write_atomically
from bso_lib.experiment.config import ARITHMETICS, RunConfig
from bso_lib.experiment.machine import processor
from bso_lib.experiment.run import run
from bso_lib.terminal.refusals import stoppable

SETTINGS = {
    "T-BSO": {"method": "t-bso", "gamma": 5e-7, "beta1": 0.997},
    "BSO": {"method": "bso", "gamma": 5e-8, "beta1": 0.9997},
    "STE + OTTT": {"method": "ste", "latent_lr": 100.0, "momentum": 0.9},
}
_SAME = ["method", "arithmetic", "seed"]


def base_config() -> RunConfig:
    """Return what all runs of the comparison share."""
    return RunConfig(width=0.125, time_steps=2, epochs=5, batch_norm="per-step", schedule="cosine", record_flips=False)


def compare(base: RunConfig, settings: Mapping[str, Mapping], seeds, arithmetics, out: Path):
    """Add to the csv ``out`` a row for each run that it lacks: accuracy in percent, and where it was computed."""
    for seed in seeds:
        for label, own in settings.items():
            for arithmetic in arithmetics:
                table = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=_SAME)
                if (table[_SAME] == [label, arithmetic, seed]).all(axis=1).any():
                    continue
                result = run(replace(base, **own, seed=seed, arithmetic=arithmetic), recompute=True)
                row = {"method": label, "arithmetic": arithmetic, "seed": seed, "accuracy": result.accuracy}
                row |= {"conditions": result.config.conditions(), "checksum": result.checksum}
                row |= {name: result.provenance[name] for name in ("device", "seconds", "torch", "python")}
                row["processor"] = processor()
                table = pd.concat([table, pd.DataFrame([row])]) if len(table) else pd.DataFrame([row])
                table = table.sort_values(_SAME)
                write_atomically(out, table.to_csv(index=False, lineterminator="\n").encode())


def paired(table: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Return a row per method: mean of exact - float32 over the seeds that have both, in points, and its t interval.

    Columns: method, n, float32 and exact (means in percent), difference, low, high (NaN for a single seed).
    """
    rows = []
    for method, own in table.groupby("method", sort=False):
        both = own.pivot(index="seed", columns="arithmetic", values="accuracy").dropna()
        difference = both["exact"] - both["float32"]
        half = stats.t.ppf((1 + level) / 2, len(both) - 1) * difference.sem() if len(both) > 1 else math.nan
        mean = difference.mean()
        rows.append((method, len(both), both["float32"].mean(), both["exact"].mean(), mean, mean - half, mean + half))
    return pd.DataFrame(rows, columns=["method", "n", "float32", "exact", "difference", "low", "high"])


def main():
    parser = argparse.ArgumentParser(
        prog="python -m bso_lib.sweep.arithmetic", description="Compare exact with float32 arithmetic over seeds."
    )
    parser.add_argument("--out", type=Path, required=True, help="the .csv to add to")
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 10), metavar=("FIRST", "END"))
    parser.add_argument("--arithmetics", nargs="+", choices=ARITHMETICS, default=ARITHMETICS)
    a = parser.parse_args()
    compare(base_config(), SETTINGS, range(*a.seeds), a.arithmetics, a.out)


if __name__ == "__main__":
    stoppable(main, "bso_lib.sweep.arithmetic")
