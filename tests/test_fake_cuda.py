"""What a GPU is asked, on a machine without one: training steps on fake tensors that say they lie on a CUDA device.

They have a shape and no values. An operation on tensors of two devices fails, and so does a value that the host reads,
unless it is answered and counted. Left out is what the driver has to do: graphs, streams, autocast, its random
generator, the allocator and the engine of autograd, in whose place :func:`backward` calls the same nodes.
"""

from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from device_reads import DeviceReads
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import BackwardCFunction

from bso_lib.data.images import Split
from bso_lib.experiment.build import Trainer, build_model, flipping_layers
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.flips import FlipRecorder
from bso_lib.fast.packed_layers import pack
from bso_lib.measure.storage import StorageTracker
from bso_lib.models import split_parameters
from bso_lib.optim import BSO, TBSO
from bso_lib.training import TRAININGS, evaluate, train_batch

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="test_cuda.py asks the real one")


class OneMode(FakeTensorMode):
    """One for all tests and for copies of networks: what the rooms keep by device belongs to it."""

    def __deepcopy__(self, memo):
        return self


FAKE = OneMode()
STEPS = 2


@torch.no_grad()
def backward(loss):
    """Do what ``loss.backward()`` does."""
    waits, found, todo = {}, set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            after = [n for n, _ in node.next_functions if n is not None]
            waits |= {n: waits.get(n, 0) + after.count(n) for n in after}
            todo += after
    ready, gradients = [loss.grad_fn], {loss.grad_fn: {0: torch.ones_like(loss)}}
    while ready:
        node = ready.pop()
        given = gradients.pop(node, {})
        if hasattr(node, "variable"):
            gradient = given[0].sum_to_size(node.variable.shape)
            node.variable.grad = gradient if node.variable.grad is None else node.variable.grad + gradient
            continue
        call = node.apply if isinstance(node, BackwardCFunction) else node
        made = call(*(given.get(i) for i in range(max(given, default=0) + 1)))
        made = [g for g in (made if isinstance(made, tuple) else (made,))]
        after = node.next_functions
        if isinstance(node, BackwardCFunction):  # returns None for what is no tensor
            after, made = [each for each in after if each[0] is not None], [g for g in made if g is not None]
        for (n, i), gradient in zip(after, made, strict=True):
            if n is None:
                continue
            waits[n] -= 1
            if gradient is not None:
                of_node = gradients.setdefault(n, {})
                of_node[i] = of_node[i] + gradient if i in of_node else gradient
            if not waits[n]:
                ready.append(n)


@contextmanager
def fake_cuda(config):
    """Yield the network of ``config`` on the device, and a count of what the host reads meanwhile."""
    with torch.device("meta"):
        model = build_model(config, 10, 1)
    with FAKE, StorageTracker(), DeviceReads() as reads, patch.object(torch.Tensor, "backward", backward):
        for module in model.modules():
            for kept in (module._parameters, module._buffers):
                for name, old in kept.items():
                    if old is not None:
                        new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device="cuda")
                        kept[name] = torch.nn.Parameter(new) if kept is module._parameters else new
        yield model, reads


def batch():
    images = torch.randn(4, 1, 16, 16, device="cuda").contiguous(memory_format=torch.channels_last)
    return images, torch.randint(10, (4,), device="cuda")


def devices(model, optimizers):
    """Return the kinds of device that hold what a step leaves behind."""
    kept = [x for o in optimizers for state in o.state.values() for x in state.values() if isinstance(x, torch.Tensor)]
    kept += [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
    return {x.device.type for x in kept}


def settings(**changes):
    return RunConfig(width=1 / 64, batch_size=4, batch_norm="per-step", time_steps=STEPS, device="cpu", **changes)


READS = [  # what is built, and how often a step waits: once for each update of binary weights
    ({}, STEPS), ({"method": "bso"}, STEPS), ({"method": "bso", "model": "resnet18"}, STEPS), ({"method": "ste"}, 0),
    ({"training": "accumulated"}, 1), ({"training": "bptt", "method": "bso"}, 1),
    # Five values more in a time step say how the first layer's sums of real numbers are to be split.
    ({"arithmetic": "exact"}, 6 * STEPS),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # torch compares devices so
@pytest.mark.parametrize(("changes", "expected"), READS, ids=str)
def test_a_step_stays_on_its_device_and_waits_once_for_each_update(changes, expected):
    config = settings(**changes)
    with fake_cuda(config) as (model, reads):
        trainer = Trainer(config, model, batches=1)
        FlipRecorder(flipping_layers(trainer.model), trainer.optimizers[-1])
        images, labels = batch()
        trainer.step(images, labels)
        reads.count = 0
        loss, logits = trainer.step(images, labels)
        assert reads.count == expected
        assert (loss.device.type, logits.device.type, logits.shape) == ("cuda", "cuda", (4, 10))
        assert devices(trainer.model, trainer.optimizers) == {"cuda"}


@pytest.mark.parametrize("optimizer", [BSO, TBSO])
@pytest.mark.parametrize("training", TRAININGS)
def test_a_capturable_step_never_waits(optimizer, training):
    with fake_cuda(settings(training=training)) as (model, reads):
        binary, real = split_parameters(model)
        flipping = optimizer(binary, *[STEPS] * (optimizer is TBSO), capturable=True)
        optimizers = [torch.optim.SGD(real, lr=0.1, momentum=0.9), flipping]
        reads.count = 0
        for _ in range(2):
            train_batch(model, *batch(), optimizers, STEPS, training)
        assert reads.count == 0
        flipping.raise_if_refused()
        assert reads.count == 1
        assert devices(model, optimizers) == {"cuda"}


@pytest.mark.parametrize("convert", [lambda model: model, pack], ids=["plain", "packed"])
def test_an_evaluation_waits_once(convert):
    with fake_cuda(settings()) as (model, reads):
        images, labels = torch.zeros(4, 1, 16, 16, dtype=torch.uint8, device="cuda"), batch()[1]
        split = Split(images, labels, ("a",) * 10, *torch.ones(2, 1, device="cuda"))
        model = convert(model)
        reads.count = 0
        assert evaluate(model, split, STEPS, batch_size=3) == 0.0
        assert reads.count == 1
        assert devices(model, ()) == {"cuda"}
