"""How each method got its settings: the same small grid for all, on held-out training images.

    python -m bso_lib.sweep.tuning --out notebooks/tuning/fashion-mini.csv        (make tune)

The options choose another data set, scale, or part of the methods; every method of a table has the same number of
candidates and the same scale.

Each method has six candidates for what decides its binary or full-precision weights: the learning rate (FP), the
latent weights' learning rate (STE), or gamma and beta1 (BSO, T-BSO). The test images are not used.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bso_lib.data.stored import write_atomically
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.run import run
from bso_lib.sweep.comparison import METHODS, method_config

_FLIPS = [{"gamma": gamma, "beta1": 1 - step} for gamma in (5e-8, 5e-7) for step in (3e-4, 1e-3, 3e-3)]
GRID = {
    "fp": [{"lr": lr} for lr in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)],
    "ste": [{"latent_lr": lr} for lr in (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)],
    "bso": _FLIPS,
    "t-bso": _FLIPS,
}
SETTINGS = ("lr", "latent_lr", "gamma", "beta1")  # what the grids vary


def tune(base: RunConfig, labels=tuple(METHODS), progress: bool = True) -> pd.DataFrame:
    """Return one row per method and candidate: settings, validation accuracy in percent (NaN: diverged), machine."""
    base = replace(base, evaluate_on="validation")
    rows = []
    for label in labels:
        for settings in GRID[METHODS[label]["method"]]:
            config = method_config(base, label, **settings)
            row = {"method": label, **settings, "validation_accuracy": float("nan")}
            try:
                result = run(config, progress=progress, recompute=True)
            except ArithmeticError:
                rows.append(row)
                continue
            origin = {name: result.provenance[name] for name in ("device", "torch", "python")}
            rows.append({**row, "validation_accuracy": result.accuracy, **origin})
    where = {"dataset": base.dataset, "width": base.width, "time_steps": base.time_steps, "epochs": base.epochs}
    if base.train_size is not None:
        where["train_size"] = base.train_size
    return pd.DataFrame(rows).assign(**where, seed=base.seed)


def best_settings(table: pd.DataFrame, label: str) -> dict[str, float]:
    """Return the settings of the best candidate of ``label`` in a table of :func:`tune`; the first of equals.

    Raises ValueError if the table has none.
    """
    rows = table[(table["method"] == label) & table["validation_accuracy"].notna()]
    if rows.empty:
        raise ValueError(f"no tuned settings for {label!r} in the table: run make tune")
    best = rows.loc[rows["validation_accuracy"].idxmax()]
    return {name: float(best[name]) for name in SETTINGS if name in best and pd.notna(best[name])}


def main():
    parser = argparse.ArgumentParser(
        prog="python -m bso_lib.sweep.tuning", description="Tune each method on validation data."
    )
    parser.add_argument("--out", type=Path, required=True, help="the .csv to write")
    parser.add_argument("--dataset", default="fashion-mini")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--time-steps", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--train-size", type=int, help="images to train on, class-balanced (default: all)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=tuple(METHODS), metavar="METHOD",
                        help=f"any of {', '.join(repr(label) for label in METHODS)} (default: all)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=100, help="not one of the seeds that are reported")
    a = parser.parse_args()
    base = RunConfig(
        dataset=a.dataset, width=a.width, time_steps=a.time_steps, epochs=a.epochs, train_size=a.train_size,
        batch_size=a.batch_size, seed=a.seed, batch_norm="per-step", schedule="cosine",
    )  # fmt: skip
    table = tune(base, a.methods)
    write_atomically(a.out, table.to_csv(index=False).encode())
    print(table.to_string())


if __name__ == "__main__":
    main()
