"""What a training step costs in memory, in bytes by category, measured or counted without allocating (Table 1, Fig. 4).

    account_step(config, device="cpu" | "cuda")    follows every tensor storage of a real step
    account_step(config, device="fake")            the same step on fake tensors: the paper's scale on any laptop
    allocated_rise(config, device)                 what PyTorch's own allocator says about the same step

The step is ``bso_lib.training.train_batch`` with the network and the optimizers of ``bso_lib.run``: what
is counted is what runs. Counted are tensors; not the scratch memory inside a kernel (a reordered weight, cuDNN's
workspace), which ``allocated_rise`` sees as far as PyTorch's allocator gives it, and not the framework itself.
"""

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.paths import dry_run
from bso_lib.fast.packed_layers import packed_layers
from bso_lib.layers import TracedConv2d
from bso_lib.measure.storage import StorageTracker
from bso_lib.neurons import LIF

DEVICES = ("cpu", "cuda", "fake")


@dataclass(frozen=True)
class StepMemory:
    """The memory of one training step, all in bytes.

    ``timeline``: bytes alive, a column per category, from the start of the step (first row) over each allocation and
    release to its end (last row).
    """

    config: RunConfig
    device: str
    timeline: pd.DataFrame

    @property
    def peak(self) -> dict[str, int]:
        """Bytes by category at the moment when most are alive."""
        return self._at(self.timeline.sum(axis=1).argmax())

    @property
    def peak_bytes(self) -> int:
        """All bytes at that moment."""
        return sum(self.peak.values())

    @property
    def rise(self) -> int:
        """Bytes by which the peak exceeds what is alive when the step starts; compare :func:`allocated_rise`."""
        return self.peak_bytes - sum(self._at(0).values())

    @property
    def persistent(self) -> dict[str, int]:
        """Bytes by category that stay alive when the step is over."""
        return self._at(-1)

    def _at(self, row):
        return {name: int(value) for name, value in self.timeline.iloc[row].items()}


def _check(image_shape, num_classes, device, devices):
    if device not in devices:
        raise ValueError(f"device={device!r}: must be one of {', '.join(devices)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda': there is no CUDA device here")
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in image_shape)
    if not (len(image_shape) == 3 and whole and min(image_shape[1:]) >= 8):
        raise ValueError(f"image_shape={image_shape!r}: must be (channels, height, width), height and width at least 8")
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes={num_classes!r}: must be a whole number, at least 1")


def _dry(config, device):
    """Under DRY_RUN, make the step one that any machine can take."""
    if not dry_run():
        return config, device
    small = replace(config, batch_size=2, time_steps=min(3, config.time_steps))
    return small, "cpu" if device == "cuda" else device


def _network(config, image_shape, num_classes, device):
    """Return the network; for "fake" on the meta device, to be called outside FakeTensorMode (see _make_fake)."""
    with torch.device("meta" if device == "fake" else "cpu"):
        model = build_model(config, num_classes, image_shape[0])
    return model if device == "fake" else model.to(device)


def _make_fake(model):
    """Put fake tensors in place of the meta ones of ``model``, inside an active FakeTensorMode.

    Meta tensors alone would not do, as autocast refuses their device; and Module.to cannot swap fake parameters.
    """
    for module in model.modules():
        for kept in (module._parameters, module._buffers):
            for name, old in kept.items():
                if old is not None:
                    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype)
                    kept[name] = torch.nn.Parameter(new) if kept is module._parameters else new


def _batch(config, image_shape, num_classes, device):
    device = "cpu" if device == "fake" else device  # what fake tensors pretend to be
    images = torch.randn(config.batch_size, *image_shape, device=device).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(num_classes, (config.batch_size,), device=device)


def _warm_up(trainer, images, labels):
    """Make the optimizers' state; after two time steps all that a step leaves behind is there."""
    trainer.step(images, labels, min(2, trainer.config.time_steps))


def _states(optimizers):
    """List the tensors that the optimizers keep."""
    leaves = [leaf for optimizer in optimizers for leaf in tree_leaves(list(optimizer.state.values()))]
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def account_step(config: RunConfig, image_shape=(3, 32, 32), num_classes=10, device="fake") -> StepMemory:
    """Return the memory of a training step of ``config``: every tensor storage, in bytes by category.

    Random images (config.batch_size, *image_shape) are trained twice: the first time, on two time steps at most, makes
    the optimizers' state; the second time is accounted. ``device``: "cpu", "cuda", or "fake" for tensors that have a
    shape but no memory and pretend to be on the CPU. ``config.device`` and data set and epochs play no part.
    Raises ValueError for a wrong shape, number of classes or device.
    """
    config, device = _dry(config, device)
    _check(image_shape, num_classes, device, DEVICES if config.packed == "no" and not config.exact else DEVICES[:2])
    tracker = StorageTracker()
    gpus = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=gpus), ExitStack() as stack:
        model = _network(config, image_shape, num_classes, device)
        if device == "fake":
            stack.enter_context(FakeTensorMode())
        stack.enter_context(tracker)
        if device == "fake":
            _make_fake(model)
        trainer = Trainer(config, model, batches=1)
        model = trainer.model
        images, labels = _batch(config, image_shape, num_classes, device)
        tracker.mark("weights", [*model.parameters(), *(layer.bits for layer in packed_layers(model))])
        tracker.mark("buffers", model.buffers())
        tracker.mark("input", [images, labels])
        for p in model.parameters():
            p.register_post_accumulate_grad_hook(lambda p: tracker.mark("gradients", [p.grad]))

        def neuron(module, *_):
            tracker.mark("neuron state", [t for t in (module.potential, module.trace) if t is not None])

        for module in model.modules():
            if isinstance(module, LIF):
                module.register_forward_hook(neuron)

        def saved(tensor):
            tracker.mark("activations", [tensor])
            return tensor if tensor.is_leaf else tensor.detach()  # with its graph it would keep itself alive

        with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
            _warm_up(trainer, images, labels)
            tracker.mark("optimizer state", _states(trainer.optimizers))
            tracker.begin()
            trainer.step(images, labels)
        return StepMemory(config, device, tracker.timeline())


def allocated_rise(config: RunConfig, image_shape=(3, 32, 32), num_classes=10, device="cpu") -> int:
    """Return by how many bytes PyTorch's own allocator rises above its level at the start of the same step.

    ``device``: "cpu", where the profiler lists every allocation, or "cuda", by ``torch.cuda.max_memory_allocated``.
    Includes the kernels' scratch memory as far as they take it from PyTorch. Raises as :func:`account_step`.
    """
    config, device = _dry(config, device)
    _check(image_shape, num_classes, device, DEVICES[:2])
    gpus = [torch.cuda.current_device()] if device == "cuda" else []
    activities = [torch.profiler.ProfilerActivity.CPU]
    # From the very first allocation: the profiler does not report the release of what it did not see allocated.
    profiler = torch.profiler.profile(activities=activities, profile_memory=True) if device == "cpu" else nullcontext()
    with torch.random.fork_rng(devices=gpus), profiler:
        model = _network(config, image_shape, num_classes, device)
        trainer = Trainer(config, model, batches=1)
        batch = _batch(config, image_shape, num_classes, device)
        _warm_up(trainer, *batch)
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            start = torch.cuda.memory_allocated()
            trainer.step(*batch)
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - start
        with torch.profiler.record_function("accounted step"):
            trainer.step(*batch)
    return _rise(profiler.profiler.kineto_results.events())


def _rise(events):
    """Return how far the sum of all allocations and releases rises above its level when the accounted step begins."""
    (begin,) = [e.start_ns() for e in events if e.name() == "accounted step"]
    level = start = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        level += event.nbytes()
        if event.start_ns() < begin:
            start = peak = level
        peak = max(peak, level)
    return peak - start


def bytes_per_binary_weight(config: RunConfig) -> dict[str, float]:
    """Return what the seven convs between the first and the classifier hold per weight, in bytes, while training.

    "weight" (latent or +-1), "sign" (the binarised copies that latent weights need, one for each time step that is kept
    for the backward), "gradient", "momentum", and "v" of T-BSO: Table 1's O(n^2 L) in numbers. Without allocating.
    """
    found = dict.fromkeys(("weight", "sign", "gradient", "momentum", "v"), 0)
    gradients = {}
    config = replace(config, arithmetic="float32")  # which keeps as much for each weight
    model = _network(config, (3, 32, 32), 10, "fake")
    with FakeTensorMode(), StorageTracker():
        _make_fake(model)
        trainer = Trainer(config, model, batches=1)
        convs = [m for m in model.modules() if isinstance(m, TracedConv2d)][1:]  # the first stays real-valued
        for conv in convs:
            conv.weight.register_post_accumulate_grad_hook(lambda p: gradients.update({id(p): p.grad.nbytes}))
        _warm_up(trainer, *_batch(config, (3, 32, 32), 10, "fake"))
        for conv in convs:
            (state,) = [o.state[conv.weight] for o in trainer.optimizers if conv.weight in o.state] or [{}]
            found["weight"] += conv.weight.nbytes
            if conv.used_weight() is not conv.weight:
                found["sign"] += conv.used_weight().nbytes * (config.time_steps if config.training == "bptt" else 1)
            found["gradient"] += gradients[id(conv.weight)]
            for name, value in state.items():
                if isinstance(value, torch.Tensor):
                    found["v" if name == "v" else "momentum"] += value.nbytes
        weights = sum(conv.weight.numel() for conv in convs)
    return {name: value / weights for name, value in found.items()}
