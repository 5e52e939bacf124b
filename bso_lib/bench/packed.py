"""How long does a training step on packed layers take, beside the plain step and the convolutions alone?

All are measured in turn in one process, as ratios, because machines are noisy. The optimizer's share is timed while the
backward pass runs; expanding bits to weights is part of the step, not of that share.
"""

import copy
import statistics
import time

import torch

from bso_lib.bench.floor import convolutions_alone, training
from bso_lib.bench.timing import seconds_of
from bso_lib.fast.packed_layers import packed_layers
from bso_lib.terminal.progress import Progress


class _Stopwatch:
    """Adds up in ``seconds`` how long an optimizer's updates take: in step(), or if packed in the backward pass."""

    def __init__(self, model, optimizer):
        self.seconds, self._since = 0.0, None
        if not packed_layers(model):
            optimizer.register_step_pre_hook(lambda *_: self._start())
            optimizer.register_step_post_hook(lambda *_: self._stop())
        for layer in packed_layers(model):
            layer.update = self._timed(layer.update)

    def _timed(self, update):
        def run(*arguments):
            self._start()
            update(*arguments)
            self._stop()

        return run

    def _start(self):
        self._since = _now()

    def _stop(self):
        self.seconds += _now() - self._since


def _now():
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what is queued belongs to whoever queued it
    return time.perf_counter()


def measure_packed(precision, width, batch_size, time_steps, repeats, side=32, channels=3, device="cpu") -> list[dict]:
    """Return a row for each kind of training step: medians of its seconds and of its ratio to the convolutions alone.

    Kinds: the plain step, and packed ones with float32 and bfloat16 momentum. ``precision``: "float32", or "bfloat16"
    for autocast; the convolutions alone then run in bfloat16 as well. ``ratio_of_fastest``: of the shortest step and
    the shortest convolutions, which other work on the machine disturbs least. ``optimizer_percent``: how much of the
    step the updates of M and W take.
    """
    kinds = {"plain": "no", "packed, float32 momentum": "float32", "packed, bfloat16 momentum": "bfloat16"}
    scale = (width, batch_size, time_steps, side, channels, device)
    trainers = {}
    for kind, packed in kinds.items():  # all from the same weights
        trainers[kind], images, labels = training(*scale, precision=precision, packed=packed)

    def step(kind):
        trainers[kind].step(images, labels)

    watches = {kind: _Stopwatch(trainer.model, trainer.optimizers[-1]) for kind, trainer in trainers.items()}
    for kind in kinds:
        step(kind)  # warm up, and let spikes be those of a network that trains
    kept = getattr(torch, precision)
    floor = convolutions_alone(copy.deepcopy(trainers["plain"].model).to(kept), images.to(kept), time_steps)
    floor()
    seconds = {kind: [] for kind in (*kinds, "convolutions")}
    shares = {kind: [] for kind in kinds}
    for _ in Progress(range(repeats), desc=f"{precision}, width {width:g}", leave=False):
        seconds["convolutions"].append(seconds_of(floor, device))
        for kind, watch in watches.items():
            watch.seconds = 0.0
            seconds[kind].append(seconds_of(lambda kind=kind: step(kind), device))
            shares[kind].append(100 * watch.seconds / seconds[kind][-1])
    rows = []
    for kind in kinds:
        ratios = [a / b for a, b in zip(seconds[kind], seconds["convolutions"], strict=True)]
        rows.append({
            "precision": precision, "width": width, "batch_size": batch_size, "time_steps": time_steps, "side": side,
            "step": kind, "step_seconds": statistics.median(seconds[kind]),
            "convolutions_seconds": statistics.median(seconds["convolutions"]),
            "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
            "ratio_of_fastest": min(seconds[kind]) / min(seconds["convolutions"]),
            "optimizer_percent": statistics.median(shares[kind]), "repeats": repeats,
        })  # fmt: skip
    return rows
