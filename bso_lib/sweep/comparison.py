"""The methods that are compared, run side by side over seeds, and their results as one table."""

import os
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch

from bso_lib.data import made_alike
from bso_lib.deploy.network_file import MEGABYTE, packed_size_bytes
from bso_lib.experiment.build import build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import DiffersFromEvidence, difference, evidence_key, find, keeping
from bso_lib.experiment.result import RunResult
from bso_lib.experiment.run import run
from bso_lib.sweep.cluster import compute_missing
from bso_lib.sweep.planning import plan

_ALL = {"momentum": 0.9}  # the real-valued parameters of every method are trained alike
METHODS = {
    "FP, BPTT": {"method": "fp", "training": "bptt", **_ALL},
    "FP, OTTT": {"method": "fp", "trace": "ottt", **_ALL},
    "FP, NDOT": {"method": "fp", "trace": "ndot", **_ALL},
    "STE + BPTT": {"method": "ste", "training": "bptt", **_ALL},
    "STE + OTTT": {"method": "ste", "trace": "ottt", **_ALL},
    "BSO": {"method": "bso", "trace": "ottt", **_ALL},
    "T-BSO": {"method": "t-bso", "trace": "ottt", **_ALL},
    "Bop + BPTT": {"method": "bso", "training": "bptt", **_ALL},
    "STE + Adam": {"method": "ste-adam", "trace": "ottt", **_ALL},
    "BOLD": {"method": "bold", "trace": "ottt", **_ALL},
}
SHORT = 120  # seconds: runs that took longer are not computed only to be compared
COLUMNS = ("method", "width", "time_steps", "seed", "accuracy", "size_mb", "runs")


def method_config(base: RunConfig, label: str, **settings) -> RunConfig:
    """Return ``base`` for the method ``label`` of :data:`METHODS` with ``settings``; raises ValueError for another."""
    if label not in METHODS:
        raise ValueError(f"method label {label!r}: must be one of {', '.join(METHODS)}")
    return replace(base, **METHODS[label], **settings)


def method_configs(
    base: RunConfig, settings: Mapping[str, Mapping], seeds: Iterable[int], **changes
) -> dict[str, list[RunConfig]]:
    """Return a config per seed for each method in ``settings`` (label to its own settings).

    ``changes`` alter ``base`` for all.
    """
    base = replace(base, **changes)
    seeds = list(seeds)
    return {label: [method_config(base, label, seed=seed, **own) for seed in seeds] for label, own in settings.items()}


def run_all(
    configs: Mapping[Hashable, Sequence[RunConfig]], recompute: int | str = 0
) -> dict[Hashable, list[RunResult]]:
    """Return the results of all ``configs``, each key's in order, of one origin: the evidence, or this machine.

    ``recompute``: 0; or a number, of each key's first configs, that are also computed here (unless that took above
    SHORT seconds, or a GPU) and compared with the evidence; or "all": computed here are all, and those results are
    returned. So they are where the evidence lacks one of them, but with BSO_KEEP_EVIDENCE=1, which adds what it lacks.
    What was computed and compared is printed in one line. Said before, on stderr: what is cached and what the rest will
    take.
    With BSO_EXECUTOR in the environment those that are missing are computed as jobs, see :mod:`bso_lib.sweep.cluster`;
    without it exact runs on the CPU, whose digits no number of threads changes, have one thread each, side by side.

    Raises :class:`DiffersFromEvidence`, ValueError for another ``recompute``.
    """
    number = isinstance(recompute, int) and not isinstance(recompute, bool) and recompute >= 0
    if not number and recompute != "all":
        raise ValueError(f"recompute={recompute!r}: must be 0, a number of seeds, or 'all'")
    every = [config for group in configs.values() for config in group]
    if recompute != "all" and keeping():
        _compute([config for config in every if find(config) is None])
    kept = {} if recompute == "all" and keeping() else {c: r for c in every if (r := find(c)) is not None}
    shown = recompute != "all" and len(kept) == len(set(every))
    if shown:
        first = [c for group in configs.values() for c in group[:recompute] if kept[c].cpu_seconds <= SHORT]
        computed = _compute(first)
    else:
        if kept and recompute != "all":
            lacking = len(set(every)) - len(kept)
            print(f"no evidence of {lacking} runs: to compare like with like all are computed here", file=sys.stderr)
        computed = _compute(every)
    print(_compared(computed, kept, len(set(every))))
    return {key: [(kept if shown else computed)[config] for config in group] for key, group in configs.items()}


def _compute(configs):
    """Return the results of ``configs`` as this machine computes them, by config."""
    if configs:
        print(plan(configs), file=sys.stderr)
    if os.environ.get("BSO_EXECUTOR"):
        compute_missing(configs, os.environ["BSO_EXECUTOR"])
    else:
        alike = {config for config in configs if config.exact and config.resolved_device() == "cpu"}
        processes = min(torch.get_num_threads(), len(alike))
        if processes > 1:  # sooner than one after the other with all threads
            compute_missing(alike, f"pool processes={processes}")
    return {config: run(config, recompute=True) for config in configs}


def _compared(computed, kept, runs):
    """Tell in a line what was computed here and how it compares; raises DiffersFromEvidence where it must be equal."""
    both = [config for config in computed if config in kept]
    told = {config: difference(computed[config], kept[config]) for config in both}
    for config in both:
        if told[config] and config.exact and made_alike(config.dataset):
            raise DiffersFromEvidence(f"{told[config]}, though exact arithmetic gives the same digits everywhere")
    if not computed:
        return f"0 of {runs} runs computed here, all read from the evidence"
    line, equal = f"{len(computed)} of {runs} runs computed here", sum(not each for each in told.values())
    if len(both) < len(computed):
        return f"{line}, {equal} of {len(both)} equal to their evidence to the last digit" if both else line
    return f"{line}, {equal} equal to the last digit"


def results_table(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return a row per run: method, width, time_steps, seed, test accuracy (percent), size_mb as it is trained, runs.

    ``runs``: the run's key, by which ``bso_lib.companion.runs_behind`` finds it in the evidence.
    """
    rows = [
        (label, r.config.width, r.config.time_steps, r.config.seed, r.accuracy, _size_mb(r), evidence_key(r.config))
        for label, found in results.items()
        for r in found
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _size_mb(result):
    with torch.device("meta"):  # no weights needed
        model = build_model(result.config, result.provenance["num_classes"], result.provenance["in_channels"])
    return packed_size_bytes(model) / MEGABYTE


def accuracies(results: Mapping[str, Sequence[RunResult]]) -> dict[str, list[float]]:
    """Return the accuracies in percent of each method, a value per seed."""
    return {label: [r.accuracy for r in found] for label, found in results.items()}
