"""Start processes from a notebook or a script, as torchrun does from a shell; return what they printed or computed."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import pandas as pd

from bso_lib.experiment.command import KEPT_AS
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.paths import runs_folder
from bso_lib.experiment.result import RunResult
from bso_lib.experiment.run import load_result


@dataclass(frozen=True)
class Launched:
    """A run by several processes: the shell ``command`` that does the same, what it printed, and its result."""

    command: str
    output: str
    result: RunResult


def shell_command(module: str, arguments: list[str], processes: int) -> str:
    """Return the line that starts ``processes`` of ``module`` from a shell."""
    start = "python" if processes == 1 else f"torchrun --nproc_per_node={processes}"
    return f"{start} -m {module} {shlex.join(arguments)}"


def settings(config: RunConfig) -> list[str]:
    """Return ``config`` as arguments of ``python -m bso_lib``: what differs from the defaults."""
    default, arguments = asdict(RunConfig()), []
    for name, value in asdict(config).items():
        if value != default[name]:
            arguments += ["--set", f"{name}={','.join(value) if name == 'augment' else value}"]
    return arguments


def start(module: str, arguments: list[str], processes: int) -> str:
    """Run ``module`` in ``processes`` on this machine and return what they wrote on stdout.

    Raises RuntimeError, with the line that says why, if they fail.
    """
    if processes < 1:
        raise ValueError(f"processes={processes}: must be at least 1")
    torchrun = (
        [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    )
    threads = max(1, (os.cpu_count() or 1) // processes)
    finished = subprocess.run(
        [sys.executable, *torchrun, "-m", module, *arguments],
        env={"OMP_NUM_THREADS": str(threads), **os.environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if finished.returncode:
        raise RuntimeError(f"{shell_command(module, arguments, processes)} failed: {_reason(finished.stderr)}")
    return finished.stdout


def _reason(errors):
    """Return the line of ``errors`` that says why: ours, or the last one before torchrun adds its own account."""
    lines = [re.sub(r"^\[rank\d+\]: ", "", line) for line in errors.splitlines()]
    ours = [line for line in lines if line.startswith("bso_lib: ")]
    of_processes = list(itertools.takewhile(lambda line: not re.match(r"[EW]\d{4} \d\d:\d\d:\d\d", line), lines))
    return (ours or of_processes[-1:] or ["no message"])[0]


def launch(
    config: RunConfig, processes: int = 2, cache: Path | str | None = None, environment: dict[str, str] | None = None
) -> Launched:
    """Let ``processes`` on this machine do the run ``config`` together, with the results under ``cache``.

    ``cache``: see BSO_CACHE; a folder of its own makes sure that the run is computed. ``environment``: variables of the
    processes, such as OMP_NUM_THREADS. Raises as :func:`start`.
    """
    own = (environment or {}) | ({} if cache is None else {"BSO_CACHE": str(cache)})
    with mock.patch.dict(os.environ, own):
        arguments = settings(config)
        output = start("bso_lib", arguments, processes)
        # By the name that it printed: with another number of threads than this process has, it is another run.
        folder = runs_folder() / output.rpartition(KEPT_AS)[2].strip()
        return Launched(shell_command("bso_lib", arguments, processes), output, load_result(folder))


def count_bytes(weights: int, processes: list[int]) -> pd.DataFrame:
    """Return what ``bso_lib.measure.communication`` counts: bytes, a row per number of processes and exchange."""
    rows = []
    for n in processes:
        found = json.loads(start("bso_lib.measure.communication", ["--weights", str(weights)], n))
        rows += [(n, exchange, sent) for exchange, sent in found["bytes"].items()]
    return pd.DataFrame(rows, columns=["ranks", "exchange", "bytes"])
