"""What must also hold on a GPU; skipped without one."""

from dataclasses import replace

import pytest
import torch

from bso_lib import experiments
from bso_lib.config import RunConfig
from bso_lib.graphed import WARM_UP, GraphedStep
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import BSO, TBSO
from bso_lib.training import train_batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

TINY = RunConfig(
    train_size=500, width=0.125, batch_norm="per-step", epochs=2, batch_size=50, augment=("crop", "flip", "cutout"),
    schedule="cosine", beta1=0.99, device="cuda",
)  # fmt: skip


@pytest.mark.parametrize("method", ["fp", "ste", "bso", "t-bso"])
@pytest.mark.parametrize("training", ["online", "bptt"])
def test_every_method_trains(method, training, tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    result = experiments.run(replace(TINY, method=method, training=training), progress=False)
    assert result.history["train_loss"].iloc[-1] < result.history["train_loss"].iloc[0]
    assert all(bool((p.abs() == 1).all()) for p in split_parameters(result.load_model())[0])


def test_an_interrupted_run_resumes_with_its_generators(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    real = experiments._checkpoint

    def stop(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiments, "_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            experiments.run(TINY, progress=False)
    assert list(experiments.run(TINY, progress=False).history["epoch"]) == [1, 2]


def test_the_optimizer_steps_as_on_the_cpu():
    start, gradients = torch.randint(2, (500,)) * 2.0 - 1, torch.randn(40, 500)
    found = []
    for device in ("cpu", "cuda"):
        w = torch.nn.Parameter(start.clone().to(device))
        optimizer = TBSO([w], 2, gamma=0.5, beta1=0.9)
        for k, gradient in enumerate(gradients):
            w.grad = gradient.to(device)
            optimizer.step(t=k % 2)
        found.append((w.detach().cpu(), optimizer.state[w]["momentum"].cpu(), optimizer.state[w]["v"].cpu()))
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cpu, cuda)


@pytest.mark.parametrize("optimizer", [BSO, TBSO])
@pytest.mark.parametrize("training", ["online", "bptt"])
def test_a_step_as_a_graph_trains_as_the_plain_one(optimizer, training):
    losses, weights = [], []
    for graphed in (False, True):
        torch.manual_seed(0)
        model = vgg11(10, 1, 1 / 32, batch_norm="per-step", time_steps=2, online=training == "online").cuda().double()
        binary, real = split_parameters(model)
        steps = (2,) if optimizer is TBSO else ()
        arguments = ([torch.optim.SGD(real, lr=0.1, momentum=0.9), optimizer(binary, *steps)], 2, training)
        step = GraphedStep(model, *arguments) if graphed else lambda *batch: train_batch(model, *batch, *arguments)  # noqa: B023
        generator = torch.Generator().manual_seed(1)
        for _ in range(WARM_UP + 6):
            images = torch.randn(4, 1, 16, 16, generator=generator).double().cuda()
            loss, _ = step(images, torch.randint(10, (4,), generator=generator).cuda())
            losses.append(float(loss))
        weights.append(torch.cat([w.detach().flatten() for w in binary]))
    half = len(losses) // 2
    assert losses[half:] == pytest.approx(losses[:half], rel=1e-4)
    assert float((weights[0] != weights[1]).double().mean()) < 0.001


def test_a_graphed_run_never_waits_for_the_device_in_a_step():
    torch.manual_seed(0)
    model = vgg11(10, 1, 1 / 16, batch_norm="per-step", time_steps=2).cuda()
    binary, real = split_parameters(model)
    step = GraphedStep(model, [torch.optim.SGD(real, lr=0.1), TBSO(binary, 2)], 2, autocast=torch.bfloat16)
    images, labels = torch.randn(4, 1, 16, 16, device="cuda"), torch.randint(10, (4,), device="cuda")
    for _ in range(WARM_UP + 2):
        step(images, labels)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(images, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    step.raise_if_refused()


def test_a_graphed_run_is_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    result = experiments.run(replace(TINY, graphed=True, record_flips=False), progress=False)
    assert result.history["train_loss"].iloc[-1] < result.history["train_loss"].iloc[0]
