"""What a set of runs will cost, said before it starts: what is cached, how long the rest takes, what a step holds."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from bso_lib.data import FACTS
from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.paths import dry_run, runs_folder
from bso_lib.experiment.run import run_key
from bso_lib.experiment.shortage import memory_bytes, settings_to_lower
from bso_lib.layers import TracedConv2d, TracedLinear
from bso_lib.measure.memory import account_step

_WHAT_DECIDES_A_STEP = (
    "method", "training", "trace", "model", "width", "batch_norm", "batch_size", "dataset", "precision", "packed",
    "arithmetic",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """``runs`` in all, ``cached`` ones of them; ``seconds`` of the others, ``peak_bytes`` of their largest step.

    ``lower``: settings of that step on which its memory depends, in words. An estimate: the time comes from one
    training step of each kind, the memory from the tensors of a step. What exceeds the machine's is not tried.
    """

    runs: int
    cached: int
    seconds: float
    peak_bytes: int
    device: str
    lower: str = ""

    def __str__(self):
        if self.cached == self.runs:
            return f"{self.runs} runs, all cached"
        present = memory_bytes(self.device)
        if self.peak_bytes > present:
            return (
                f"{self.runs} runs, {self.cached} of them cached; WARNING: a training step of the others holds up to "
                f"{self.peak_bytes / 1e9:.2f} GB in tensors, {self.device} has {present / 1e9:.2f}: lower {self.lower}"
            )
        return (
            f"{self.runs} runs, {self.cached} of them cached; the others take about {duration(self.seconds)} on "
            f"{self.device}, and a training step holds up to {self.peak_bytes / 1e9:.2f} GB in tensors"
        )


def duration(seconds: float) -> str:
    """Return ``seconds`` in the two units that suit them."""
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // part)} {smaller}"
    return f"{seconds:.0f} s"


def plan(configs: Iterable[RunConfig]) -> Plan:
    """Return what running ``configs``, and what they start from, will cost on this machine.

    Takes a few training steps, none if all are cached.
    """
    configs = list(dict.fromkeys(phase for config in configs for phase in _phases(config)))
    left = [c for c in configs if not (runs_folder() / run_key(c) / "result.json").exists()]
    kinds = {}
    for config in left:
        kinds.setdefault(tuple(getattr(config, name) for name in _WHAT_DECIDES_A_STEP), []).append(config)
    seconds, peak, lower = 0.0, 0, ""
    device = left[0].resolved_device() if left else "cpu"
    for alike in kinds.values():
        largest = max(alike, key=lambda c: c.time_steps)
        facts = FACTS[largest.dataset]
        if dry_run():
            largest = replace(largest, batch_size=2)
        # Packed and exact layers hold no more, and cannot be counted without allocating.
        plain = replace(largest, packed="no", arithmetic="float32")
        held = account_step(plain, facts.shape, facts.classes, "fake").peak_bytes
        if held > peak:
            peak, lower = held, settings_to_lower(largest)
        if held > memory_bytes(device):
            continue
        step = _seconds_per_time_step(largest, facts)
        seconds += sum(step * _time_steps(config) for config in alike)
    return Plan(len(configs), len(configs) - len(left), seconds, peak, device, lower)


def multiply_accumulates(config: RunConfig, image_shape, num_classes: int) -> dict[str, int]:
    """Return the multiply-accumulates of "forward" and "backward" for one image and one time step, dense.

    Those of convolutions and linear layers, which make up nearly all; counted on tensors without values, so that any
    size is counted at once. A training run takes images x epochs x T times their sum.
    """
    with torch.device("meta"):
        model, image = build_model(config, num_classes, image_shape[0]), torch.empty(1, *image_shape)
    counted = {}
    with FlopCounterMode(display=False) as counter:
        logits = model(image).sum()
    counted["forward"] = counter.get_total_flops() // 2  # a multiplication and an addition each
    with FlopCounterMode(display=False) as counter:
        logits.backward()
    return counted | {"backward": counter.get_total_flops() // 2}


def layer_table(config: RunConfig, image_shape, num_classes: int) -> pd.DataFrame:
    """Return a row per conv and linear layer of ``config``'s network, in order, counted without allocating.

    layer, its name in the model; kind, its class; kernel; stride; map, the output's (channels, height, width) or
    (features,); weights; macs, the dense multiply-accumulates of one image and time step.
    """
    with torch.device("meta"):
        model, image = build_model(config, num_classes, image_shape[0]), torch.empty(1, *image_shape)
    rows = {}

    def note(name):
        def hook(layer, _, output):
            conv = isinstance(layer, TracedConv2d)
            rows[name] = {
                "layer": name, "kind": type(layer).__name__, "kernel": layer.kernel_size[0] if conv else 1,
                "stride": layer.stride[0] if conv else 1, "map": tuple(output.shape[1:]),
                "weights": layer.weight.numel(), "macs": layer.weight[0].numel() * output.numel(),
            }  # fmt: skip

        return hook

    for name, layer in model.named_modules():
        if isinstance(layer, TracedConv2d | TracedLinear):
            layer.register_forward_hook(note(name))
    model(image)
    return pd.DataFrame(list(rows.values()))


def _phases(config):
    """Return the runs that ``config`` takes: those it starts from, then itself."""
    return [*(_phases(config.start_from) if config.start_from else ()), config]


def _time_steps(config):
    """How many batches are trained for one time step in all; evaluation counted as a third of training."""
    facts = FACTS[config.dataset]
    trained = min(config.train_size or facts.train_images, facts.train_images)
    evaluated = facts.between or facts.train_images / 5  # the sets have about five training images for one test image
    return config.epochs * config.time_steps * (trained + evaluated / 3) / config.batch_size


def _seconds_per_time_step(config, facts):
    """Time one training step at one time step; the second of two, as the first makes the optimizers' state."""
    device = config.resolved_device()
    config = replace(config, time_steps=1)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        model = build_model(config, facts.classes, facts.shape[0]).to(device)
        trainer = Trainer(config, model, batches=1)
        images = torch.randn(config.batch_size, *facts.shape, device=device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.randint(facts.classes, (config.batch_size,), device=device)
        for _ in range(2):
            start = time.perf_counter()
            loss, _ = trainer.step(images, labels)
            loss.item()  # waits for the device
    return time.perf_counter() - start
