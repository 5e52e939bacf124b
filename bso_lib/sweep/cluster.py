"""Spread runs, or whole notebooks, over a cluster by submitit; the cache is the same, and so are the results.

    BSO_EXECUTOR="slurm slurm_partition=gpu gpus_per_node=1 timeout_min=600" make reproduce PROFILE=paper
    python -m bso_lib.sweep.cluster 04-how-accurate 07-speech --profile paper --executor "slurm gpus_per_node=1"

An executor is given as one text: "slurm", or "local" for processes of this machine, then options by submitit's names;
or "pool processes=16", which needs no submitit: so many processes of one thread, each for one run after another. In
$BSO_EXECUTOR it lets ``bso_lib.sweep.comparison.run_all`` compute each missing run as a job of its own. The second
line makes each notebook a job.

All machines need the same checkout and environment and one BSO_CACHE that they share: a file system with locks across
machines (flock: NFS from version 4 on, Lustre mounted with ``flock``, GPFS) and an atomic rename. If the locks do not
work, a run that two ask for at once is computed twice, to the same result. The asking process must see the same kind of
processor, as many threads and the same GPU as the jobs: they are part of a run's name.
"""

import argparse
import ast
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import as_completed
from pathlib import Path

from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.paths import checkout, dry_run, runs_folder
from bso_lib.experiment.run import run, run_key
from bso_lib.sweep.pool import single_threads
from bso_lib.terminal.progress import Progress
from bso_lib.terminal.refusals import stoppable

EXECUTORS = ("slurm", "local", "pool")
_POLL = 0.5  # seconds
_NOTEBOOKS = (checkout() or Path.cwd()) / "notebooks"


class JobsFailed(RuntimeError):
    """Some jobs failed, all others have finished; the message names each with its error."""


class _Job:
    """What a job calls: returns (value, None) or (None, error); its log has the traceback.

    Out of time or preempted, it is submitted again and goes on from its own last checkpoint.
    """

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __call__(self):
        try:
            return self.function(*self.arguments), None
        except Exception as error:
            traceback.print_exc()
            return None, f"{type(error).__name__}: {error}"

    def checkpoint(self):
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def parse_executor(text: str) -> tuple[str, dict]:
    """Return kind and options of an executor given as text; raises ValueError for what is none."""
    kind, *pairs = text.split() or [""]
    if kind not in EXECUTORS:
        raise ValueError(f"executor {kind!r}: must be one of {', '.join(EXECUTORS)}")
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"executor option {pair!r}: must be name=value")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    if kind == "pool" and not all(name == "processes" and isinstance(n, int) and n > 0 for name, n in options.items()):
        raise ValueError(f"executor {text!r}: a pool has processes=, a whole number of at least 1, and nothing else")
    return kind, options


def spread(jobs: dict[str, tuple], executor: str) -> dict[str, object]:
    """Compute ``jobs``, name to (function, *arguments), by ``executor`` and return each one's value by name.

    "local" and "pool" start as many at a time as the machine has cores. Logs go to "jobs" beside the runs, those of a
    "pool" to stderr. Raises :class:`JobsFailed` when all have ended, ImportError without submitit, ValueError for a
    wrong executor.
    """
    kind, options = parse_executor(executor)
    if not jobs:
        return {}
    return _spread_here(jobs, **options) if kind == "pool" else _submit(jobs, kind, options)


def _spread_here(jobs, processes=None):
    values, failed = {}, {}
    with single_threads(processes or os.cpu_count()) as pool:
        names = {pool.submit(_Job(*work)): name for name, work in jobs.items()}
        for done in Progress(as_completed(names), total=len(names), desc="side by side", unit="run"):
            name, lost = names[done], done.exception()  # the process was killed
            values[name], error = (None, str(lost)) if lost else done.result()
            if error is not None:
                failed[name] = error
    _raise_if(failed, jobs, "stderr has more")
    return values


def _submit(jobs, kind, options):
    try:
        from submitit import AutoExecutor
    except ImportError as error:
        raise ImportError("a cluster needs submitit: pip install 'bso-lib[cluster]'") from error
    logs = runs_folder().with_name("jobs")
    submitting = AutoExecutor(folder=logs, cluster=kind)
    submitting.update_parameters(**{"name": "bso", "timeout_min": 24 * 60, **options})
    at_once = os.cpu_count() if kind == "local" else len(jobs)  # Slurm has a queue of its own
    waiting, running, values, failed = list(jobs.items()), {}, {}, {}
    while waiting or running:
        while waiting and len(running) < at_once:
            name, work = waiting.pop(0)
            running[name] = submitting.submit(_Job(*work))
        for name in [name for name, job in running.items() if job.done()]:
            job = running.pop(name)
            lost = job.exception()  # the job did not come to an end of its own
            values[name], error = (None, str(lost).splitlines()[0]) if lost else job.result()
            if error is not None:
                failed[name] = f"{error} (job {job.job_id})"
        time.sleep(_POLL if running else 0)
    _raise_if(failed, jobs, f"logs in {logs}")
    return values


def _raise_if(failed, jobs, more):
    if failed:
        named = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise JobsFailed(f"{len(failed)} of {len(jobs)} jobs failed, the others are done; {more}. {named}")


def compute_missing(configs: Iterable[RunConfig], executor: str):
    """Compute those of ``configs`` that are not cached yet, each as a job; raises as :func:`spread`.

    Nothing is submitted in a dry run, whose runs take a moment.
    """
    if dry_run():
        return
    missing = {run_key(c): c for c in configs if not (runs_folder() / run_key(c) / "result.json").exists()}
    computed = spread({name: (_compute, config) for name, config in missing.items()}, executor)
    for asked, found in computed.items():
        if asked != found:
            raise JobsFailed(
                f"asked for {asked}, a job computed {found}: its machine has another processor, number of "
                "threads, GPU, torch or code"
            )


def _compute(config):
    return run(config, progress=False, recompute=True).folder.name


def _execute(name, profile):
    subprocess.run([sys.executable, str(_NOTEBOOKS / "run.py"), name, "--profile", profile], check=True)


def main():
    parser = argparse.ArgumentParser(
        prog="python -m bso_lib.sweep.cluster", description="Run notebooks as jobs of a cluster."
    )
    parser.add_argument("names", nargs="+", metavar="notebook", help="its file name without .ipynb")
    parser.add_argument("--profile", required=True, help="quick, laptop, evening or paper")
    parser.add_argument("--executor", default=os.environ.get("BSO_EXECUTOR", "slurm"), help="default: $BSO_EXECUTOR")
    arguments = parser.parse_args()
    for name in arguments.names:
        if not (_NOTEBOOKS / f"{name}.ipynb").exists():
            parser.error(f"no notebook {name!r} in {_NOTEBOOKS}")
    try:
        spread({name: (_execute, name, arguments.profile) for name in arguments.names}, arguments.executor)
    except (JobsFailed, ImportError, ValueError) as error:
        sys.exit(f"bso_lib.sweep.cluster: {error}")
    print(f"{len(arguments.names)} notebooks done; the ledger comes last: make reproduce PROFILE={arguments.profile}")


if __name__ == "__main__":
    stoppable(main, "bso_lib.sweep.cluster")
