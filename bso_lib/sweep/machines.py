"""One machine plays others: the same runs with other threads, instructions and processes, and what they learned.

    python -m bso_lib.sweep.machines --out notebooks/evidence/machines.csv        (make machines)

Each method runs exactly, with the settings of ``bso_lib.sweep.arithmetic`` at an eighth of the width, on every machine
of :data:`EVIDENCE`. A finished run is a row at once, and rows that are there are not computed again.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bso_lib.data.stored import write_atomically
from bso_lib.experiment.config import WEIGHTS, RunConfig
from bso_lib.experiment.machine import processor
from bso_lib.sweep.arithmetic import SETTINGS, base_config
from bso_lib.sweep.launch import launch
from bso_lib.terminal.refusals import stoppable


class Machine(NamedTuple):
    """``threads`` of each of ``processes``, ``instructions`` that PyTorch and oneDNN may use, and ``packed`` layers.

    Packed layers are for one process and binary weights; others stay plain.
    """

    threads: int = 1
    instructions: str = "all"
    processes: int = 1
    packed: bool = False

    def environment(self) -> dict[str, str]:
        """Return the environment variables that make a process this machine."""
        # Threads that spin while they wait would slow down the others. All machines play one run: none keeps it.
        own = {"OMP_NUM_THREADS": str(self.threads), "GOMP_SPINCOUNT": "1000", "BSO_KEEP_EVIDENCE": "0"}
        if self.instructions != "all":
            torchs, onednns = {"AVX2": ("avx2", "AVX2"), "SSE": ("default", "SSE41")}[self.instructions]
            own |= {"ATEN_CPU_CAPABILITY": torchs, "ONEDNN_MAX_CPU_ISA": onednns}
        return own


MACHINES = {
    "two threads": Machine(2),
    "one thread, SSE": Machine(instructions="SSE"),
    "two processes": Machine(processes=2),
}
EVIDENCE = {
    "two threads": MACHINES["two threads"],
    "one thread, packed": Machine(packed=True),
    "one thread, AVX2, packed": Machine(instructions="AVX2", packed=True),
    "two processes": MACHINES["two processes"],
    "two processes of two threads, AVX2": Machine(2, "AVX2", processes=2),
    "four processes": Machine(processes=4),
    "four processes, AVX2": Machine(instructions="AVX2", processes=4),
    "two threads, SSE, packed": Machine(2, "SSE", packed=True),
}


def play(config: RunConfig, machine: Machine):
    """Return (result, checksum) of ``config``, computed now by processes like ``machine``, past the cache."""
    if machine.packed and WEIGHTS[config.method] == "binary":
        config = replace(config, packed="float32")
    with tempfile.TemporaryDirectory() as cache:
        result = launch(config, machine.processes, cache, machine.environment()).result
        return result, result.checksum


def collect(configs: Mapping[str, RunConfig], machines: Mapping[str, Machine], out: Path):
    """Add to the csv ``out`` a row for each method and machine that it lacks: accuracy, checksum, and where."""
    for name, machine in machines.items():
        for label, config in configs.items():
            table = pd.read_csv(out) if out.exists() else pd.DataFrame(columns=["method", "machine"])
            if ((table["method"] == label) & (table["machine"] == name)).any():
                continue
            result, checksum = play(config, machine)
            row = {"method": label, "machine": name, **machine._asdict(), "accuracy": result.accuracy}
            row |= {"seed": config.seed, "checksum": checksum, "conditions": config.conditions()}
            row |= {key: result.provenance[key] for key in ("seconds", "torch", "python")} | {"processor": processor()}
            table = pd.concat([table, pd.DataFrame([row])]) if len(table) else pd.DataFrame([row])
            write_atomically(out, table.to_csv(index=False, lineterminator="\n").encode())


def main():
    parser = argparse.ArgumentParser(
        prog="python -m bso_lib.sweep.machines", description="Let this machine play others, in exact arithmetic."
    )
    parser.add_argument("--out", type=Path, required=True, help="the .csv to add to")
    a = parser.parse_args()
    base = replace(base_config(), arithmetic="exact", device="cpu")
    collect({label: replace(base, **own) for label, own in SETTINGS.items()}, EVIDENCE, a.out)


if __name__ == "__main__":
    stoppable(main, "bso_lib.sweep.machines")
