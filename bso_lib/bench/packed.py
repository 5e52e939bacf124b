"""How long does a training step on packed layers take, beside the plain step and the convolutions alone?

All are measured in turn in one process, as ratios, because machines are noisy. The optimizer's share is timed while the
backward pass runs; expanding bits to weights is part of the step, not of that share.
"""

import copy
import statistics
import time

import torch
from tqdm import tqdm

from bso_lib.bench.floor import convolutions_alone, training_step
from bso_lib.bench.timing import seconds_of
from bso_lib.models import split_parameters
from bso_lib.neurons import LIF
from bso_lib.packed.layers import pack, packed_layers
from bso_lib.packed.optim import PackedTBSO
from bso_lib.training import train_batch

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


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


def activation_bytes_per_neuron(model, images, time_steps) -> float:
    """Return what the forward pass of the last time step keeps for its backward, traces included, in bytes per neuron.

    Weights and statistics are not counted. Packed layers must not have an optimizer yet.
    """
    model.reset_state()
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    for _ in range(time_steps):
        kept = {}

        def keep(tensor, kept=kept):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(images)
    neurons = sum(module.potential.numel() for module in model.modules() if isinstance(module, LIF))
    return sum(size for address, size in kept.items() if address not in own) / neurons


def measure_packed(precision, width, batch_size, time_steps, repeats, side=32, channels=3, device="cpu") -> list[dict]:
    """Return a row for each kind of training step: medians of its seconds and of its ratio to the convolutions alone.

    Kinds: the plain step, and packed ones with float32 and bfloat16 momentum. ``precision``: "float32", or "bfloat16"
    for autocast; the convolutions alone then run in bfloat16 as well. ``ratio_of_fastest``: of the shortest step and
    the shortest convolutions, which other work on the machine disturbs least. ``optimizer_percent``: how much of the
    step the updates of M and W take.
    """
    autocast = PRECISIONS[precision]
    torch.manual_seed(0)
    _, plain, images, optimizers = training_step(width, batch_size, time_steps, side, channels, device)
    labels = torch.randint(10, (batch_size,), device=device)
    kinds = {"plain": (plain, optimizers)}
    for dtype in (torch.float32, torch.bfloat16):
        model = pack(plain)
        flipping = PackedTBSO(model, time_steps, momentum_dtype=dtype)
        kinds[f"packed, {str(dtype)[6:]} momentum"] = (
            model,
            [torch.optim.SGD(split_parameters(model)[1], 0.1), flipping],
        )

    def step(kind):
        model, steppers = kinds[kind]
        train_batch(model, images, labels, steppers, time_steps, autocast=autocast)

    watches = {kind: _Stopwatch(model, steppers[-1]) for kind, (model, steppers) in kinds.items()}
    for kind in kinds:
        step(kind)  # warm up, and let spikes be those of a network that trains
    example = copy.deepcopy(plain).to(torch.bfloat16) if autocast else plain
    floor = convolutions_alone(example, images.to(autocast or images.dtype), time_steps)
    floor()
    seconds = {kind: [] for kind in (*kinds, "convolutions")}
    shares = {kind: [] for kind in kinds}
    for _ in tqdm(range(repeats), desc=f"{precision}, width {width:g}", leave=False):
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
