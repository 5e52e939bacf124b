"""What of this machine decides the digits of a run, and how it is named where results are shown."""

import functools
import os
import platform
from pathlib import Path

import torch


@functools.cache
def processor() -> str:
    """Return the processor's name as Linux tells it, with family and model, else what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in told:
        return platform.processor() or platform.machine()
    return f"{told['model name']} (family {told.get('cpu family', '?')}, model {told.get('model', '?')})"


def device_name(device: str) -> str:
    """Return the name of ``device``, "cuda" or "cpu": the GPU's, or how many threads of the CPU compute."""
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def digits_depend_on(device: str) -> dict[str, str]:
    """Return what of the machine decides the last digits of floating-point sums on ``device``, and so a run's course.

    On a CPU: its kind, the instructions that PyTorch and oneDNN may use, and the number of threads, between which sums
    are split. On a GPU: its kind.
    """
    if device == "cuda":
        return {"gpu": torch.cuda.get_device_name()}
    instructions = (torch.backends.cpu.get_cpu_capability(), os.environ.get("ONEDNN_MAX_CPU_ISA", "all"))
    return {"cpu": processor(), "instructions": ", ".join(instructions), "threads": str(torch.get_num_threads())}
