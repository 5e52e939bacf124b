"""A whole training step as one CUDA graph: captured once, then one launch instead of a thousand.

    optimizers = [SGD(real, lr=0.1), TBSO(binary, time_steps, capturable=True)]
    step = GraphedStep(model, optimizers, time_steps, autocast=torch.bfloat16)
    for images, labels in batches:
        loss, logits = step(images, labels)      in place of train_batch(model, images, labels, ...)
    step.raise_if_refused()

A spiking network launches many small kernels for each time step, and a fast GPU waits for the host that launches them.
A graph replays them as they were captured: same shapes, same addresses, no question back to the host.
"""

import contextlib

import torch
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from bso_lib.optim import BSO, TBSO
from bso_lib.training import train_batch

WARM_UP = 3  # steps before the capture: they make the optimizers' state and let libraries choose and allocate


class GraphedStep:
    """``bso_lib.training.train_batch`` with all its arguments but the batch, captured as a CUDA graph.

    ``optimizers``: SGD, and BSO and TBSO made with ``capturable=True``. Learning rates and schedules act as usual. The
    first calls train as usual, on the way to the capture; so does a batch of another shape than the first one's.
    Another momentum or gamma, or weights or state at another place, lead to a new capture.
    Returns (loss, logits) as ``train_batch`` does. Raises ValueError for other optimizers, hooks on their step (a graph
    would not call them), a network that several ranks train, and a batch that is not on a CUDA device.
    """

    device_type = "cuda"

    def __init__(self, model, optimizers, time_steps, training="online", autocast=None, loss=F.cross_entropy):
        if isinstance(model, DistributedDataParallel):
            raise ValueError("a step of several processes cannot be a CUDA graph: train with one process")
        for optimizer in optimizers:
            if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
                raise ValueError(f"{type(optimizer).__name__} has hooks on its step, which a CUDA graph would not call")
            ours = isinstance(optimizer, BSO | TBSO) and optimizer.defaults["capturable"]
            if not (ours or type(optimizer) is SGD):
                name = type(optimizer).__name__
                raise ValueError(f"{name} cannot be in a CUDA graph: must be SGD, or BSO or TBSO with capturable=True")
        self.model, self.optimizers = model, optimizers
        self.arguments = (optimizers, time_steps, training, autocast, loss)
        # fused SGD reads a float32 rate; in float64 1 - lr (1 - beta) keeps its digits
        self.rates = [
            (group, torch.zeros((), dtype=torch.float32 if type(o) is SGD else torch.float64, device=p.device))
            for o in optimizers
            for group in o.param_groups
            for p in group["params"][:1]
        ]
        self.shape, self.settings, self.warm, self._replay = None, None, 0, None

    def __call__(self, images, labels):
        """Train one batch, as the class says."""
        if images.device.type != self.device_type:
            raise ValueError(f"the batch is on {images.device}: a CUDA graph needs it on a CUDA device")
        self.shape = self.shape or (images.shape, labels.shape)
        if (images.shape, labels.shape) != self.shape:
            return train_batch(self.model, images, labels, *self.arguments)
        if (settings := self._settings()) != self.settings:
            self.settings, self.warm, self._replay = settings, 0, None
        if self.warm < WARM_UP:
            self.warm += 1
            return self._aside(images, labels)
        for group, rate in self.rates:
            rate.fill_(group["lr"])
        if self._replay is None:
            self.images, self.labels = images.clone(), labels.clone()
            with self._rates_on_device():
                self._replay, self.outputs = self._record(
                    lambda: train_batch(self.model, self.images, self.labels, *self.arguments)
                )
        self.images.copy_(images)
        self.labels.copy_(labels)
        self._replay()
        return tuple(value.clone() for value in self.outputs)  # the next replay writes to the same place

    def raise_if_refused(self):
        """Raise ValueError if gradients were not finite since the last call; waits for the device."""
        for optimizer in self.optimizers:
            if type(optimizer) is not SGD:
                optimizer.raise_if_refused()

    def _settings(self):
        """What a captured graph has fixed: options of the optimizers, and where everything lies."""
        options = [
            tuple((name, value) for name, value in group.items() if name not in ("params", "lr"))
            for optimizer in self.optimizers
            for group in optimizer.param_groups
        ]
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        tensors = [*self.model.state_dict().values()]
        tensors += [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
        return self.model.training, options, [tensor.data_ptr() for tensor in tensors]

    @contextlib.contextmanager
    def _rates_on_device(self):
        """Let the optimizers read their rates from the device, where the schedules' numbers are filled in."""
        before = [(group, group["lr"], group.get("fused")) for group, _ in self.rates]
        for group, rate in self.rates:
            group["lr"] = rate
            if "fused" in group:  # SGD's only way that takes a rate on the device
                group["fused"] = True
        try:
            yield
        finally:
            for group, rate, fused in before:
                group["lr"] = rate
                if "fused" in group:
                    group["fused"] = fused

    def _aside(self, images, labels):
        """Train a batch on another stream, as a capture must not follow work on the default one."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = train_batch(self.model, images, labels, *self.arguments)
        torch.cuda.current_stream().wait_stream(stream)
        return outputs

    @staticmethod
    def _record(step):
        """Capture ``step()`` without running it; return a function that runs it, and its outputs."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = step()
        return graph.replay, outputs
