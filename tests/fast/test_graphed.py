"""A captured step, replayed on the CPU: traced once by make_fx, which like a CUDA graph keeps the operations alone.

What only a GPU can show is in test_cuda.py.
"""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from bso_lib.experiment import build, job
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.flips import FlipRecorder
from bso_lib.experiment.run import load_splits
from bso_lib.fast.graphed import WARM_UP, GraphedStep
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import BSO, TBSO, cosine
from bso_lib.training import train_batch

TIME_STEPS = 2


class TracedStep(GraphedStep):
    """Traces where CUDA would capture. Tracing runs the step, so everything is put back afterwards."""

    device_type = "cpu"
    captures = 0

    def _aside(self, images, labels):
        return train_batch(self.model, images, labels, *self.arguments)

    def _record(self, step):
        self.captures += 1
        tensors = [*self.model.state_dict().values()]
        for optimizer in self.optimizers:
            tensors += [v for state in optimizer.state.values() for v in state.values() if v is not None]
            tensors += [optimizer._refused] if hasattr(optimizer, "_refused") else []
        before = [tensor.clone() for tensor in tensors]
        traced = make_fx(step)()
        for tensor, value in zip(tensors, before, strict=True):
            tensor.detach().copy_(value)
        outputs = [torch.empty(()), torch.empty(self.labels.shape[0], 10)]

        @torch.no_grad()
        def replay():
            for output, value in zip(outputs, traced(), strict=True):
                output.data = value.detach()

        return replay, outputs


def network(optimizer=TBSO, momentum=0.9, gamma=1e-3, capturable=True):
    torch.manual_seed(0)
    model = vgg11(10, 1, 1 / 32, batch_norm="per-step", time_steps=TIME_STEPS).double()
    binary, real = split_parameters(model)
    steps = (TIME_STEPS,) if optimizer is TBSO else ()
    flipping = optimizer(binary, *steps, gamma=gamma if optimizer is TBSO else gamma * 1e-3, capturable=capturable)
    for name in ("beta", "beta1"):
        if name in flipping.param_groups[0]:
            flipping.param_groups[0][name] = 0.9
    return model, [torch.optim.SGD(real, lr=0.1, momentum=momentum), flipping]


def batches(count, size=4):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        yield (
            torch.randn(size, 1, 16, 16, generator=generator).double(),
            torch.randint(10, (size,), generator=generator),
        )


def everything(model, optimizers):
    found = dict(model.state_dict())
    for number, optimizer in enumerate(optimizers):
        for p, state in enumerate(optimizer.state.values()):
            found |= {f"{number} {p} {name}": value for name, value in state.items() if value is not None}
    return found


@pytest.mark.parametrize("optimizer", [BSO, TBSO])
@pytest.mark.parametrize("training", ["online", "accumulated"])
def test_a_replayed_step_trains_as_the_plain_one(optimizer, training):
    plain, graphed = network(optimizer, capturable=False), network(optimizer)
    start = [w.detach().clone() for w in split_parameters(plain[0])[0]]
    schedules = [[LambdaLR(o, cosine(12)) for o in optimizers] for _, optimizers in (plain, graphed)]
    step = TracedStep(graphed[0], graphed[1], TIME_STEPS, training)
    for images, labels in batches(10):
        expected = train_batch(plain[0], images, labels, plain[1], TIME_STEPS, training)
        found = step(images, labels)
        torch.testing.assert_close(found, expected)
        for schedule in schedules[0] + schedules[1]:
            schedule.step()
    step.raise_if_refused()
    assert step.captures == 1
    ours, theirs = everything(*graphed), everything(*plain)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(
            ours[name], theirs[name], rtol=1e-4, atol=1e-8
        )  # SGD's rate is float32 on the device
    flipped = 0
    for w, before in zip(split_parameters(plain[0])[0], start, strict=True):
        flipped += int((w != before).sum())
    assert flipped > 100
    assert [group["lr"] for o in graphed[1] for group in o.param_groups] == [
        group["lr"] for o in plain[1] for group in o.param_groups
    ]  # plain numbers, for schedules and checkpoints


def test_another_shape_is_trained_as_usual_and_another_option_captured_anew():
    plain, graphed = network(capturable=False), network()
    step = TracedStep(*graphed, TIME_STEPS)
    sizes = [4] * (WARM_UP + 3) + [3, 4, 3, 4]
    for number, size in enumerate(sizes):
        if number == len(sizes) - 1:
            for optimizers in (plain[1], graphed[1]):
                optimizers[1].param_groups[0]["gamma"] = 1e-2
        (batch,) = batches(1, size)
        torch.testing.assert_close(step(*batch), train_batch(plain[0], *batch, plain[1], TIME_STEPS))
    assert step.captures == 1
    for batch in batches(WARM_UP + 1):
        torch.testing.assert_close(step(*batch), train_batch(plain[0], *batch, plain[1], TIME_STEPS))
    assert step.captures == 2
    for p, q in zip(split_parameters(graphed[0])[0], split_parameters(plain[0])[0], strict=True):
        assert torch.equal(p, q)


def test_loaded_state_is_captured_anew():
    graphed = network()
    step = TracedStep(*graphed, TIME_STEPS)
    for batch in batches(WARM_UP + 3):
        step(*batch)
    saved = copy.deepcopy([part.state_dict() for part in (graphed[0], *graphed[1])])
    for part, state in zip((graphed[0], *graphed[1]), copy.deepcopy(saved), strict=True):
        part.load_state_dict(state)
    other = network()
    for part, state in zip((other[0], *other[1]), saved, strict=True):
        part.load_state_dict(state)
    for batch in batches(WARM_UP + 2):
        torch.testing.assert_close(step(*batch), train_batch(other[0], *batch, other[1], TIME_STEPS))
    assert step.captures == 2


def test_a_gradient_that_is_not_finite_is_reported_and_changes_no_binary_weight():
    model, optimizers = network()
    step = TracedStep(model, optimizers, TIME_STEPS)
    for batch in batches(WARM_UP + 2):
        step(*batch)
    flipping = optimizers[1]
    before = [w.detach().clone() for w in split_parameters(model)[0]]
    states = copy.deepcopy([flipping.state[w] for w in split_parameters(model)[0]])
    split_parameters(model)[1][-1].data[0] = math.nan  # a bias of the last layer: no gradient is finite
    step(*next(batches(1)))
    with pytest.raises(ValueError, match=f"not finite .* in {TIME_STEPS} updates: these changed no weight"):
        step.raise_if_refused()
    step.raise_if_refused()  # reported once
    for w, kept, state in zip(split_parameters(model)[0], before, states, strict=True):
        assert torch.equal(w, kept)
        for name, value in state.items():
            assert torch.equal(flipping.state[w][name], value)


def test_what_a_graph_cannot_do_is_refused():
    model, optimizers = network()
    with pytest.raises(ValueError, match="on cpu: a CUDA graph needs it on a CUDA device"):
        GraphedStep(model, optimizers, TIME_STEPS)(*next(batches(1)))
    with pytest.raises(ValueError, match="Adam cannot be in a CUDA graph: must be SGD, or BSO or TBSO with"):
        GraphedStep(model, [torch.optim.Adam(model.parameters())], TIME_STEPS)
    with pytest.raises(ValueError, match="TBSO cannot be in a CUDA graph"):
        GraphedStep(*network(capturable=False), TIME_STEPS)
    model, optimizers = network()
    FlipRecorder({1: split_parameters(model)[0][0]}, optimizers[1])
    with pytest.raises(ValueError, match="TBSO has hooks on its step"):
        GraphedStep(model, optimizers, TIME_STEPS)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_asks_the_host_nothing(device, monkeypatch):
    """Fake tensors have no values: a step that asked for one would raise. On "cuda" they pretend to be on a GPU."""
    monkeypatch.setattr(TBSO, "_check_grid", lambda *_: None)  # asks once, when the optimizer is made
    with torch.device("meta"):
        model = vgg11(10, 1, 1 / 16, batch_norm="per-step", time_steps=TIME_STEPS)
    with FakeTensorMode():
        for module in model.modules():
            for kept in (module._parameters, module._buffers):
                for name, old in [(name, old) for name, old in kept.items() if old is not None]:
                    new = torch.empty_strided(old.shape, old.stride(), device=device)
                    kept[name] = torch.nn.Parameter(new) if kept is module._parameters else new
        binary, real = split_parameters(model)
        flipping = TBSO(binary, TIME_STEPS, capturable=True)
        step = GraphedStep(model, [torch.optim.SGD(real, lr=0.1, momentum=0.9), flipping], TIME_STEPS)
        images, labels = torch.empty(4, 1, 16, 16, device=device), torch.empty(4, dtype=torch.int64, device=device)
        for _ in range(2):
            with step._rates_on_device():
                if device == "cpu":
                    train_batch(model, images, labels, *step.arguments)
                else:  # without a GPU there is no backward pass on one and no fused SGD, not even of fakes
                    model.reset_state()
                    for t in range(TIME_STEPS):
                        model(images)
                        for p in model.parameters():
                            p.grad = torch.empty_like(p)
                        flipping.step(t=t)
        state = flipping.state[binary[0]]
        assert {state["momentum"].device.type, state["v"].device.type, flipping._refused.device.type} == {device}
        with pytest.raises(DataDependentOutputException):
            flipping.raise_if_refused()  # the question is asked here, and only here


def test_several_ranks_are_refused_not_trained_apart(monkeypatch):
    class Averaged(DistributedDataParallel):
        def __init__(self, model):  # a process group is not needed to be refused
            torch.nn.Module.__init__(self)
            self.module = model

    monkeypatch.setattr(build, "parallel", lambda model, every: Averaged(model))
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        config = RunConfig(width=1 / 32, graphed=True, record_flips=False)
    trainer = build.Trainer(config, build.build_model(config, 10, 1), batches=1)
    with pytest.raises(ValueError, match="a step of several processes cannot be a CUDA graph"):
        trainer.step(torch.randn(2, 1, 16, 16), torch.tensor([0, 1]))


def test_a_run_replays_its_steps(monkeypatch):
    train = load_splits(RunConfig(train_size=100))[0]
    config = RunConfig(
        train_size=100, width=1 / 32, batch_norm="per-step", epochs=2, batch_size=10, record_flips=False, beta1=0.9,
        gamma=1e-3, schedule="cosine", device="auto",
    )  # fmt: skip
    rows = []
    monkeypatch.setattr(build, "GraphedStep", TracedStep)
    for graphed in (False, True):
        torch.manual_seed(0)
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)  # a config asks, the traced step does not
            config = replace(config, graphed=graphed)
        under_way = job.Job(config, train, "cpu")
        rows.append([under_way.train_epoch(train, tqdm(disable=True)) for _ in range(2)])
    assert under_way.trainer._graph.captures == 1
    for plain, graphed in zip(*rows, strict=True):
        assert graphed == pytest.approx(plain, rel=0.02)
