"""The methods that are compared, run side by side over seeds, and their results as one table."""

import os
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch

from bso_lib.deploy.network_file import MEGABYTE, packed_size_bytes
from bso_lib.experiment.build import build_model
from bso_lib.experiment.config import RunConfig
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
COLUMNS = ("method", "width", "time_steps", "seed", "accuracy", "size_mb")


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


def run_all(configs: Mapping[Hashable, Sequence[RunConfig]]) -> dict[Hashable, list[RunResult]]:
    """Run all ``configs``, each key's in order; says first, on stderr, what is cached and what the rest will take.

    With BSO_EXECUTOR in the environment those that are missing are computed as jobs, see
    :mod:`bso_lib.sweep.cluster`.
    """
    every = [config for group in configs.values() for config in group]
    print(plan(every), file=sys.stderr)
    if os.environ.get("BSO_EXECUTOR"):
        compute_missing(every, os.environ["BSO_EXECUTOR"])
    return {key: [run(config) for config in group] for key, group in configs.items()}


def results_table(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return a row per run: method, width, time_steps, seed, test accuracy (percent), size_mb (as it is trained)."""
    rows = [
        (label, r.config.width, r.config.time_steps, r.config.seed, r.accuracy,
         _size_mb(r))
        for label, found in results.items()
        for r in found
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _size_mb(result):
    with torch.device("meta"):  # no weights needed
        model = build_model(result.config, result.provenance["num_classes"], result.provenance["in_channels"])
    return packed_size_bytes(model) / MEGABYTE


def accuracies(results: Mapping[str, Sequence[RunResult]]) -> dict[str, list[float]]:
    """Return the accuracies in percent of each method, a value per seed."""
    return {label: [r.accuracy for r in found] for label, found in results.items()}
