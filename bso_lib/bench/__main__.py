"""Run all benchmarks: ``python -m bso_lib.bench --out figures/bench``, some ten minutes on two cores.

Writes floor.csv (a step against its convolutions), arithmetic.csv (exact and float32), packed.csv, rivals.csv (the
two-forward scheme, other libraries), growth.csv and inference.csv, each with device and versions.
"""

import argparse
from pathlib import Path

import torch

from bso_lib.bench import arithmetic, floor, growth, inference, packed, peers, rivals
from bso_lib.bench.timing import store
from bso_lib.experiment.config import PRECISIONS
from bso_lib.terminal.refusals import stoppable


def main():
    parser = argparse.ArgumentParser(prog="python -m bso_lib.bench", description="Run the benchmarks.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the csv files")
    parser.add_argument("--repeats", type=int, default=11, help="rounds of each comparison (default: 11)")
    arguments = parser.parse_args()
    device, repeats = "cuda" if torch.cuda.is_available() else "cpu", arguments.repeats
    if peers.missing():
        print(f"left out, as not installed: {', '.join(peers.missing())} (pip install 'bso-lib[peers]')")
    tables = {
        "floor": lambda: [floor.measure(width, 32, 2, repeats, device=device) for width in (1.0, 0.25)],
        "arithmetic": lambda: [arithmetic.measure_exact(*shape, repeats, device=device) for shape in arithmetic.SHAPES],
        "packed": lambda: [
            row
            for width in (1.0, 0.25)
            for precision in PRECISIONS
            for row in packed.measure_packed(precision, width, 32, 2, repeats, device=device)
        ],
        "rivals": lambda: rivals.compare(repeats=repeats, device=device),
        "growth": lambda: growth.growth(repeats=min(repeats, 5), device=device),
        "inference": lambda: inference.measure_inference(repeats=repeats, device=device),
    }
    for name, measure in tables.items():
        store(measure(), arguments.out / f"{name}.csv", device)


if __name__ == "__main__":
    stoppable(main, "bso_lib.bench")
