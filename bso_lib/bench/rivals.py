"""A training step of this library beside the two-forward scheme and other libraries: time and peak memory."""

import math
import os
import shutil
from collections.abc import Callable, Iterable

import pandas as pd
import torch

from bso_lib.bench.peers import PEERS, missing
from bso_lib.bench.timing import in_turn, ratios
from bso_lib.bench.two_forward import two_forward_training
from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.fast.graphed import WARM_UP
from bso_lib.measure.storage import StorageTracker
from bso_lib.training import train_batch

OURS = "T-BSO, plain"
PACKED = "T-BSO, packed"
EXACT = "T-BSO, exact"
EXACT_PACKED = "T-BSO, exact, packed"
COMPILED = "T-BSO, plain, compiled"
GRAPHED = "T-BSO, plain, CUDA graph"
TWO_FORWARD = "two forward passes"


def _ours(width, precision="float32", packed="no", compiled=False, graphed=False, arithmetic="float32"):
    def make(images, labels, time_steps):
        config = RunConfig(
            width=width, time_steps=time_steps, batch_norm="per-step", precision=precision, packed=packed,
            graphed=graphed, record_flips=False, arithmetic=arithmetic,
        )  # fmt: skip
        model = build_model(config, 10, images.shape[1]).to(images.device)
        trainer = Trainer(config, model, batches=1)
        if compiled:
            trainer.model.compile()
        for _ in range((WARM_UP + 2) * graphed):
            trainer.step(images, labels)  # up to the capture
        return lambda: trainer.step(images, labels)

    return make


def _two_forward(lean, memory_format, width=1.0):
    def make(images, labels, time_steps):
        model, optimizers = two_forward_training(10, images.shape[1], width, time_steps, lean)
        model.to(images.device, memory_format=memory_format)
        images = images.contiguous(memory_format=memory_format)
        return lambda: train_batch(model, images, labels, optimizers, time_steps)

    return make


def can_compile() -> bool:
    """Return whether torch.compile finds the C++ compiler that it needs for a CPU."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


def contestants(width=1.0) -> dict[str, Callable]:
    """Return what is compared, by name: ``make(images, labels, time_steps)``, which gives a training step to call.

    With CUDA also the step as a CUDA graph. At full width also the steps that torch.compile makes, where it can, which
    takes a while, and those of the other libraries, where they are installed.
    """
    half = "bfloat16"
    ours = {
        OURS: _ours(width),
        PACKED: _ours(width, packed="float32"),
        EXACT: _ours(width, arithmetic="exact"),
        EXACT_PACKED: _ours(width, packed="float32", arithmetic="exact"),
        f"{OURS}, bfloat16": _ours(width, half),
        f"{PACKED}, bfloat16": _ours(width, half, packed=half),
    }
    if width == 1 and can_compile():
        ours |= {COMPILED: _ours(1.0, compiled=True), f"{COMPILED}, bfloat16": _ours(1.0, half, compiled=True)}
    if torch.cuda.is_available():
        ours |= {GRAPHED: _ours(width, graphed=True), f"{GRAPHED}, bfloat16": _ours(width, half, graphed=True)}
    two_forward = {
        TWO_FORWARD: _two_forward(False, torch.contiguous_format, width),
        f"{TWO_FORWARD}, lean, channels last": _two_forward(True, torch.channels_last, width),
    }
    return ours | two_forward | ({} if width != 1 or missing() else PEERS)


def _batch(batch_size, side, device):
    torch.manual_seed(0)
    images = torch.randn(batch_size, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(10, (batch_size,), device=device)


def peak_bytes(make, batch_size, time_steps, side=32, device="cpu") -> int:
    """Return the most bytes of tensors alive during a step: weights, optimizer state and input included.

    On CUDA what PyTorch's allocator says, with the kernels' scratch memory.
    """
    tracker = StorageTracker()
    with tracker:
        step = make(*_batch(batch_size, side, device), time_steps)
        step()  # makes the optimizers' state
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        tracker.begin()
        step()
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return int(tracker.timeline().sum(axis=1).max())


def compare(
    batch_size=32, time_steps=2, repeats=5, width=1.0, side=32, device="cpu", names: Iterable[str] | None = None
) -> pd.DataFrame:
    """Return a row per contestant: ``step``, seconds, ratio to :data:`OURS` (with spread), ``peak_mb`` and its ratio.

    ``peak_ratio`` is to the two-forward scheme. On a CPU a compiled step hides its tensors from the count: its memory
    is NaN. ``names``: of the contestants, among them these two; None: all.
    """
    makers = contestants(width)
    makers = makers if names is None else {name: makers[name] for name in names}
    shape = (batch_size, time_steps, side, device)
    hidden = () if device == "cuda" else [name for name in makers if name.startswith(COMPILED)]
    peaks = pd.Series({n: math.nan if n in hidden else peak_bytes(make, *shape) for n, make in makers.items()})
    steps = {name: make(*_batch(batch_size, side, device), time_steps) for name, make in makers.items()}
    table = ratios(in_turn(steps, repeats, device, "rivals"), OURS)
    table = table.assign(peak_mb=peaks / 1e6, peak_ratio=peaks / peaks[TWO_FORWARD])
    scale = {"width": width, "batch_size": batch_size, "time_steps": time_steps, "side": side}
    return table.rename_axis("step").reset_index().assign(**scale)
