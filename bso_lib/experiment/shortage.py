"""What memory there is, and what is said when it does not suffice for a run."""

import contextlib
import os
from pathlib import Path

import torch

from bso_lib.experiment.config import RunConfig

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def memory_bytes(device: str) -> int:
    """Return how much memory ``device`` has: the GPU's, or what the machine, or the container, gives this process."""
    if device == "cuda":
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _LIMITS):
        text = path.read_text().strip() if path.exists() else "max"
        sizes += [int(text)] if text.isdigit() else []
    return min(sizes)


class OutOfMemory(MemoryError):
    """Memory did not suffice for a run; the message says which settings to lower."""


@contextlib.contextmanager
def says_what_to_lower(config: RunConfig):
    """Raise :class:`OutOfMemory` where torch or Python has no memory left for the run ``config``."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lacking = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not lacking or isinstance(error, OutOfMemory):
            raise
        first = (str(error) or "no memory left").splitlines()[0]
        raise OutOfMemory(
            f"out of memory on {config.resolved_device()}: lower {settings_to_lower(config)}, which is another "
            f"run; this one goes on from its last checkpoint, if there is one ({first})"
        ) from error


def settings_to_lower(config: RunConfig) -> str:
    """Return the settings that a step's memory grows with, in words, the one that costs the result least first."""
    parts = [f"batch_size={config.batch_size}"]
    if config.training == "bptt" and config.time_steps > 1:
        parts.append(f"time_steps={config.time_steps} (or take training='online', whose memory does not grow with it)")
    return " or ".join([*parts, f"width={config.width:g}"])
