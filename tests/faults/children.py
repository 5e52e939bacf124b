"""Runs in processes that a test may kill, forked from one that has imported everything, and what they leave behind."""

import os
import signal
import sys
from pathlib import Path

import filelock
import torch
import torch.multiprocessing

from bso_lib.data import stored
from bso_lib.experiment import run as experiments
from bso_lib.experiment import sealed
from bso_lib.experiment.checkpoint import load_checkpoint
from bso_lib.experiment.config import RunConfig

TINY = RunConfig(
    train_size=120, width=1 / 64, batch_norm="per-step", time_steps=2, epochs=2, batch_size=30,
    augment=("crop", "flip"), momentum=0.9, gamma=1e-4, schedule="cosine", device="cpu", snapshot_every=1,
)  # fmt: skip
WRITES = 4 * 2 + 1 + 2 + 3  # of TINY with a checkpoint after every batch: those, snapshots, the result


def settle(cache):
    """Let this process keep its runs in ``cache``, with a checkpoint after every batch and no evidence read."""
    os.environ |= {"BSO_CACHE": str(cache), "BSO_CHECKPOINT_MINUTES": "0", "BSO_EVIDENCE": ""}
    torch.set_num_threads(1)


def do_runs(cache, configs, before=lambda: None):
    """What a child does: ``before()``, then each run of ``configs``; a line that ends them goes to the file "line"."""
    settle(cache)
    before()
    sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process lives
    try:
        for config in configs:
            experiments.run(config, progress=False)
    except (KeyboardInterrupt, OSError) as stopped:
        cache.joinpath("line").write_text(f"{type(stopped).__name__}: {stopped}")
        os._exit(130)


def start(*arguments):
    """Start a child that calls :func:`do_runs`."""
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bso_lib.experiment.run", "torch._dynamo"])
    process = context.Process(target=do_runs, args=arguments)
    process.start()
    return process


class StopHalfWay:
    """Kill this process within its write number ``number``: after half of the bytes, or before the file is renamed."""

    def __init__(self, number: int, half: bool):
        self.number, self.half, self.count = number, half, 0

    def __call__(self):
        stored.open = self.open

    def open(self, path, mode):
        self.count += 1
        file = open(path, mode)  # noqa: SIM115 - for the caller to close
        if self.count == self.number:
            write = file.write
            return _Dying(file, write, self.half)
        return file


class _Dying:
    def __init__(self, file, write, half):
        self.file, self._write, self.half = file, write, half

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, content):
        self._write(content[: len(content) // 2] if self.half else content)
        self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def check_whole(cache: Path):
    """Assert that every file under ``cache`` with a name of its own is whole."""
    for path in cache.glob("*/checkpoint-*.pt"):
        load_checkpoint(path)
    for path in cache.glob("*/result.json"):
        stored_run = sealed.unsealed(path.parent)
        for name in stored_run["sha256"]:
            sealed.tensors(path.parent, name)


def outcome(cache: Path) -> dict:
    """Return all that the finished runs under ``cache`` found, to the bit; asserts that nothing else is left there."""
    check_whole(cache)
    found = {}
    for folder in sorted(path for path in cache.iterdir() if path.is_dir()):
        result = sealed.unsealed(folder)
        assert {path.name for path in folder.iterdir()} == {"lock", "result.json", *result["sha256"]}
        with filelock.FileLock(folder / "lock").acquire(timeout=0):
            pass
        found[folder.name] = {name: result[name] for name in ("config", "history", "flips", "sha256")}
    return found
