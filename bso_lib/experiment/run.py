"""``run(RunConfig(...))``: one training run, seeded, cached and resumable. What the notebooks call.

A run's folder under build/runs is named by the hash of all that decides its digits: configuration, torch version, the
bso_lib sources that compute it, and, unless it is computed exactly, the machine (processor and threads, or GPU). So no
stale result is served, and none of another machine: change the code or the number of threads and it is computed again.
Before the cache comes the evidence that travels with the notebooks, see :mod:`bso_lib.experiment.evidence`.

With DRY_RUN=1 in the environment every run is a few steps on random data of the right shape, kept apart from results.
"""

import contextlib
import hashlib
import json
import math
import warnings
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import filelock
import pandas as pd
import torch
from tqdm import tqdm

from bso_lib.data import FACTS, data_root, load_dataset, load_validation, random_splits
from bso_lib.data.stored import sweep_parts
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import find, keep, keeping
from bso_lib.experiment.fingerprint import commit, source_fingerprint
from bso_lib.experiment.flips import FlipRecord
from bso_lib.experiment.job import MOMENTUM_FILE, WEIGHTS_FILE, Job
from bso_lib.experiment.machine import digits_depend_on
from bso_lib.experiment.paths import dry_run, runs_folder
from bso_lib.experiment.pauses import Pauses, checkpoint_minutes
from bso_lib.experiment.ranks import agreed, writes
from bso_lib.experiment.result import RunResult
from bso_lib.experiment.sealed import RESULT, seal, tensors, unsealed
from bso_lib.experiment.shortage import says_what_to_lower
from bso_lib.terminal.progress import Progress

# Taken at import: what a long-lived kernel computes belongs to the code it has loaded, not to a file edited since.
_CODE = source_fingerprint()
_DRY_RUN = {"epochs": 2, "batch_size": 2, "train_size": None, "seed": 0, "step_epochs": 1}  # whatever is asked
_DRY_IMAGES = 4


def load_splits(config: RunConfig, root=None):
    """Return the (train, evaluation) splits of ``config``; random images under DRY_RUN."""
    if dry_run():
        return random_splits(config.dataset, _DRY_IMAGES, config.time_steps)
    train, test = load_dataset(config.dataset, root, frames=config.time_steps)
    if config.evaluate_on == "validation":
        train, test = load_validation(config.dataset, train, root)
    if config.train_size is not None:
        train, _ = train.first_per_class(max(1, config.train_size // train.num_classes))
        test = scored_between(config, test)
    return train, test


def scored_between(config: RunConfig, test):
    """Return what of ``test`` is scored between epochs; a run on a part of the training images never sees more."""
    count = FACTS[config.dataset].between
    return test if count is None or len(test) <= count else test.first_per_class(count // test.num_classes)[0]


def run_key(config: RunConfig) -> str:
    """Return the name of the run's folder: readable head, then the hash of all that decides the result."""
    config = _with_device_resolved(config)
    parts = {"config": asdict(config), "torch": torch.__version__, "code": _CODE}
    machine = "any" if config.exact else digits_depend_on(config.device)
    content = json.dumps(parts | {"machine": machine}, sort_keys=True)
    return f"{config.method}-{config.training}-{config.dataset}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _with_device_resolved(config):
    before = config.start_from and _with_device_resolved(config.start_from)
    return replace(config, device=config.resolved_device(), start_from=before)


def _dry(config):
    """Return ``config`` and the phases before it as a few steps."""
    return replace(config, **_DRY_RUN, start_from=config.start_from and _dry(config.start_from))


def load_start(config: RunConfig, root=None, progress: bool = True):
    """Return (weights, momentum) that ``config.start_from`` ends with, from the cache or computed; None without one.

    Rank 0 reads them for all.
    """
    if config.start_from is None:
        return None
    folder = run(config.start_from, root, progress, recompute=True).folder  # the evidence has no momenta
    return agreed(tuple(tensors(folder, name) for name in (WEIGHTS_FILE, MOMENTUM_FILE)) if writes() else None)


def run(config: RunConfig, root=None, progress: bool = True, recompute: bool = False) -> RunResult:
    """Return the result of ``config``: from the evidence, the cache, or its last checkpoint on, or computed.

    ``recompute``: pass the evidence by, so that the result is one of this machine (its ``origin`` is "computed"). With
    BSO_KEEP_EVIDENCE=1 in the environment such a result becomes evidence. A dry run neither reads nor writes any.

    ``root``: where data sets lie (see ``bso_lib.data.data_root``). Two processes that ask for the same run do it once:
    the second waits. ``config.start_from`` is a run of its own, and comes first. The ranks of a process group
    (``torchrun -m bso_lib``) do one run together and all return its result. Raises DatasetMissing without data,
    ArithmeticError if training diverges, ValueError if the number of ranks does not divide the batch, DamagedEvidence
    for an entry that is damaged or forged.
    """
    if not isinstance(config, RunConfig):
        raise TypeError(f"config={type(config).__name__}: must be a RunConfig, as in run(RunConfig(method='bso'))")
    data_root(root), checkpoint_minutes()  # refused before anything is written
    if dry_run():
        config = _dry(config)
    found = None if recompute else agreed(find(config) if writes() else None)
    result = found or _computed(config, root, progress)
    if keeping() and writes():
        keep(result)
    return result


def _computed(config, root, progress):
    """Return the result of ``config`` from the cache of this machine, or compute it."""
    folder = runs_folder() / run_key(config)
    lock = filelock.FileLock(folder / "lock")  # the system frees it when its holder dies
    if found := agreed(_read_only(folder, lock) if writes() else None):
        return found
    if not agreed(writes() and _locked(lock, 0)):
        if writes():
            tqdm.write(f"another process computes {folder.name}: waiting for its result")
        while not agreed(writes() and _locked(lock, 60)):  # in turns: no rank may wait long in one exchange
            pass
    try:
        if writes():
            sweep_parts(folder)
        result = agreed(load_result(folder) if writes() else None)
        if result and writes():
            _drop_checkpoints(folder)  # of a process that was killed at the very end
        with says_what_to_lower(config):
            return result or _train(config, folder, root, progress and writes())
    finally:
        lock.release()


def _read_only(folder, lock):
    """Return None where ``folder`` can be written in, else its result; raises OSError if it has none either."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(filelock.Timeout), lock.acquire(timeout=0):
            pass
    except OSError:  # another user's, or a file system that is read only
        result = load_result(folder)
        if result is None:
            raise
        return result
    return None


def _locked(lock, seconds):
    try:
        lock.acquire(timeout=seconds)
    except filelock.Timeout:
        return False
    return True


def load_result(folder: Path) -> RunResult | None:
    """Return the finished run in ``folder``; None, with a warning if it is damaged, where there is none."""
    path = folder / RESULT
    if not path.exists():
        return None
    try:
        stored = unsealed(folder)
        flips = FlipRecord.from_dict(stored["flips"]) if stored["flips"] else None
        config, history = RunConfig(**stored["config"]), pd.DataFrame(stored["history"])
        return RunResult(config, history, stored["provenance"], folder, flips)
    except (ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{path} is damaged ({error}): the run is computed again", stacklevel=3)
        return None


def _train(config, folder, root, progress):
    device = config.resolved_device()
    start = load_start(config, root, progress)
    train, test = (split.to(device) for split in load_splits(config, root))
    between = scored_between(config, test)
    own_random = torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else [])
    with own_random, torch.enable_grad():  # whoever asks may do so without gradients
        torch.manual_seed(config.seed)
        job = Job(config, train, device, start)
        job.resume(folder)
        if not (job.history or job.begun):
            job.snapshot(folder, 0)
        done = len(job.history) * job.batches + (job.begun["batches"] if job.begun else 0)
        bar = Progress(
            total=config.epochs * job.batches, initial=done, unit="batch", leave=False,
            desc=f"{config.method} {config.training} T={config.time_steps} seed {config.seed}", disable=not progress,
        )  # fmt: skip
        with bar, Pauses() as pauses:
            for epoch in range(len(job.history) + 1, config.epochs + 1):
                row = job.train_epoch(train, bar, partial(_pause, job, pauses, folder))
                if not math.isfinite(row["train_loss"]):
                    raise ArithmeticError(f"training diverged in epoch {epoch} (loss {row['train_loss']}): {config}")
                row["accuracy"] = job.accuracy(test if epoch == config.epochs else between)
                job.history.append({"epoch": epoch, **row})
                job.snapshot(folder, epoch)
                pauses.due(at_once=True)
                job.checkpoint(folder, epoch)
                pauses.act(job.where())
    return _finish(folder, job)


def _pause(job, pauses, folder):
    """Between two batches: store the state of the run if that is due, and end if a signal asks for it."""
    if pauses.due():
        job.checkpoint(folder, len(job.history))
        pauses.act(job.where())


def _finish(folder, job):
    """Store the result, drop the checkpoints, and return the result on every rank."""
    if writes():
        stored, files = job.outcome()
        stored["provenance"] |= {"code": _CODE, "commit": commit(), "date": datetime.now(UTC).date().isoformat()}
        seal(folder, stored, files)
        _drop_checkpoints(folder)
    return agreed(load_result(folder) if writes() else None)


def _drop_checkpoints(folder):
    for checkpoint in folder.glob("checkpoint-*.pt"):
        checkpoint.unlink()
