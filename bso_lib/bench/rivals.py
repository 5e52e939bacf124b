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
from bso_lib.graphed import WARM_UP, GraphedStep
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import TBSO
from bso_lib.packed.layers import pack
from bso_lib.packed.optim import PackedTBSO
from bso_lib.storage import StorageTracker
from bso_lib.training import train_batch

OURS = "T-BSO, plain"
PACKED = "T-BSO, packed"
COMPILED = "T-BSO, plain, compiled"
GRAPHED = "T-BSO, plain, CUDA graph"
TWO_FORWARD = "two forward passes"


def _library_step(model, flipping, images, labels, time_steps, autocast):
    optimizers = [torch.optim.SGD(split_parameters(model)[1], lr=0.1), flipping]
    return lambda: train_batch(model, images, labels, optimizers, time_steps, autocast=autocast)


def _network(images, width, time_steps):
    model = vgg11(10, images.shape[1], width, batch_norm="per-step", time_steps=time_steps)
    return model.to(images.device, memory_format=torch.channels_last)


def _plain(autocast=None, width=1.0, compiled=False):
    def make(images, labels, time_steps):
        model = _network(images, width, time_steps)
        if compiled:
            model.compile()
        flipping = TBSO(split_parameters(model)[0], time_steps)
        return _library_step(model, flipping, images, labels, time_steps, autocast)

    return make


def _graphed(autocast, width):
    def make(images, labels, time_steps):
        model = _network(images, width, time_steps)
        binary, real = split_parameters(model)
        optimizers = [torch.optim.SGD(real, lr=0.1), TBSO(binary, time_steps)]
        step = GraphedStep(model, optimizers, time_steps, autocast=autocast)
        for _ in range(WARM_UP + 2):
            step(images, labels)  # up to the capture
        return lambda: step(images, labels)

    return make


def _packed(momentum_dtype, autocast=None, width=1.0):
    def make(images, labels, time_steps):
        model = pack(vgg11(10, images.shape[1], width, batch_norm="per-step", time_steps=time_steps))
        model = model.to(images.device, memory_format=torch.channels_last)
        flipping = PackedTBSO(model, time_steps, momentum_dtype=momentum_dtype)
        return _library_step(model, flipping, images, labels, time_steps, autocast)

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
    half = torch.bfloat16
    ours = {
        OURS: _plain(width=width),
        PACKED: _packed(torch.float32, width=width),
        "T-BSO, plain, bfloat16": _plain(half, width),
        "T-BSO, packed, bfloat16": _packed(half, half, width),
    }
    if width == 1 and can_compile():
        ours |= {COMPILED: _plain(compiled=True), f"{COMPILED}, bfloat16": _plain(half, compiled=True)}
    if torch.cuda.is_available():
        ours |= {GRAPHED: _graphed(None, width), f"{GRAPHED}, bfloat16": _graphed(half, width)}
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
