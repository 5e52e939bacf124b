"""How long is a training step, compared with the convolutions in it alone?

Both are measured in turn in one process, as a ratio, because machines are noisy. The floor runs each convolution's
forward, input gradient and weight gradient on the shapes and the real spikes of the step, and nothing else. Beside it
stands what recording the flips adds to the step.
"""

import statistics

import torch
import torch.nn.functional as F

from bso_lib.bench.timing import seconds_of
from bso_lib.experiment.build import Trainer, build_model, flipping_layers
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.flips import FlipRecorder
from bso_lib.terminal.progress import Progress
from bso_lib.traced import Spikes


def training(width, batch_size, time_steps, side, channels, device, **settings):
    """Return (trainer, images, labels): T-BSO trained online, as ``settings`` change it, and one fixed batch."""
    torch.manual_seed(0)
    config = RunConfig(width=width, time_steps=time_steps, batch_norm="per-step", record_flips=False, **settings)
    trainer = Trainer(config, build_model(config, 10, channels).to(device), batches=1)
    images = torch.randn(batch_size, channels, side, side, device=device).contiguous(memory_format=torch.channels_last)
    return trainer, images, torch.randint(10, (batch_size,), device=device)


def convolutions_alone(model, images, time_steps):
    """Return a function that runs the convolutions of one training step of ``model`` and nothing else."""
    recorded = []

    def note(layer, inputs):
        x = inputs[0].values if isinstance(inputs[0], Spikes) else inputs[0]
        recorded.append((x.detach(), layer.weight.detach().requires_grad_()))

    convs = [layer for layer in model if isinstance(layer, torch.nn.Conv2d)]
    hooks = [layer.register_forward_pre_hook(note) for layer in convs]
    model.reset_state()
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    model.reset_state()
    upstream = [torch.randn_like(F.conv2d(x, w, padding=1)).detach() for x, w in recorded]

    def run():
        for _ in range(time_steps):
            for index, ((x, w), grad) in enumerate(zip(recorded, upstream, strict=True)):
                x = x.requires_grad_(index > 0)  # the image needs no gradient
                torch.autograd.grad(F.conv2d(x, w, padding=1), (x, w) if index else (w,), grad)

    return run


class _TimedRecorder(FlipRecorder):
    """A recorder that knows how long it took; timed from within, as its cost is smaller than a step's noise."""

    seconds = 0.0

    def _observe(self):
        if self.bounds.is_cuda:
            torch.cuda.synchronize()  # the step's own queued work is not the recorder's
        self.seconds += seconds_of(super()._observe, self.bounds.device.type)


def measure(width, batch_size, time_steps, repeats, side=32, channels=3, device="cpu") -> dict:
    """Return medians in seconds of a training step and of its convolutions, and the median of their paired ratios.

    ``flip_recording_percent``: what the flip recorder of every run adds to the step.
    """
    trainer, images, labels = training(width, batch_size, time_steps, side, channels, device)
    model = trainer.model

    def step():
        trainer.step(images, labels)

    step()  # warm up, and let spikes be those of a network that trains
    floor = convolutions_alone(model, images, time_steps)
    floor()
    pairs = [
        (seconds_of(step, device), seconds_of(floor, device))
        for _ in Progress(range(repeats), desc=f"width {width:g}", leave=False)
    ]
    ratios = [a / b for a, b in pairs]
    recorder = _TimedRecorder(flipping_layers(model), trainer.optimizers[-1])
    shares = []
    for _ in range(repeats):
        recorder.seconds = 0.0
        whole = seconds_of(step, device)
        shares.append(100 * recorder.seconds / (whole - recorder.seconds))
    return {
        "width": width, "batch_size": batch_size, "time_steps": time_steps, "side": side,
        "step_seconds": statistics.median(a for a, _ in pairs),
        "convolutions_seconds": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
        "flip_recording_percent": statistics.median(shares), "repeats": repeats,
    }  # fmt: skip
