"""Timing as ratios: everything that is compared runs in turn in one process, because machines are noisy."""

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import torch

from bso_lib.data.stored import write_atomically
from bso_lib.terminal.progress import Progress


def seconds_of(function, device) -> float:
    """Return the wall-clock seconds of one call, the device's queued work included."""
    start = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turn(functions: Mapping[str, Callable], repeats: int, device="cpu", title="") -> pd.DataFrame:
    """Return the seconds of each of ``functions`` (columns) in each of ``repeats`` rounds (rows), after a warm-up.

    A round calls each function once, one after the other.
    """
    for function in functions.values():
        function()
    rounds = Progress(range(repeats), desc=title, leave=False, unit="round")
    return pd.DataFrame({name: seconds_of(f, device) for name, f in functions.items()} for _ in rounds)


def ratios(seconds: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return a row per column of ``seconds``: its median, and median, least and largest ratio to ``reference``.

    The ratio is taken within each round, in which the machine's speed changes least.
    """
    relative = seconds.div(seconds[reference], axis=0)
    return pd.DataFrame({
        "seconds": seconds.median(), "ratio": relative.median(), "ratio_min": relative.min(),
        "ratio_max": relative.max(), "repeats": len(seconds),
    })  # fmt: skip


def store(rows, out: Path, device: str):
    """Write ``rows`` with device and versions to the csv ``out``, and print them."""
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    table = pd.DataFrame(rows).assign(device=name, torch=torch.__version__, python=platform.python_version()).round(4)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, table.to_csv(index=False, lineterminator="\n").encode())
    print(table.to_string(index=False))
