"""What only a GPU can show: graphs and no question to the host. The rest is in experiment/test_devices.py."""

import pytest
import torch

from bso_lib.experiment import run as experiments
from bso_lib.experiment.config import RunConfig
from bso_lib.fast.graphed import WARM_UP, GraphedStep
from bso_lib.models import split_parameters, vgg11
from bso_lib.optim import BSO, TBSO
from bso_lib.training import train_batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.mark.parametrize("optimizer", [BSO, TBSO])
@pytest.mark.parametrize("training", ["online", "bptt"])
def test_a_step_as_a_graph_trains_as_the_plain_one(optimizer, training):
    losses, weights = [], []
    for graphed in (False, True):
        torch.manual_seed(0)
        model = vgg11(10, 1, 1 / 32, batch_norm="per-step", time_steps=2, online=training == "online").cuda().double()
        binary, real = split_parameters(model)
        steps = (2,) if optimizer is TBSO else ()
        flipping = optimizer(binary, *steps, capturable=graphed)
        arguments = ([torch.optim.SGD(real, lr=0.1, momentum=0.9), flipping], 2, training)
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
    step = GraphedStep(
        model, [torch.optim.SGD(real, lr=0.1), TBSO(binary, 2, capturable=True)], 2, autocast=torch.bfloat16
    )
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
    config = RunConfig(
        train_size=500, width=0.125, batch_norm="per-step", epochs=2, batch_size=50, schedule="cosine", beta1=0.99,
        device="cuda", graphed=True, record_flips=False,
    )  # fmt: skip
    result = experiments.run(config, progress=False)
    assert result.history["train_loss"].iloc[-1] < result.history["train_loss"].iloc[0]


@pytest.mark.parametrize("changes", [{}, {"method": "ste", "latent_lr": 10.0}, {"method": "bso", "model": "resnet18"}])
def test_an_exact_run_has_the_bits_of_a_cpu(changes, tmp_path, monkeypatch):
    found = []
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("BSO_CACHE", str(tmp_path / device))
        config = RunConfig(
            width=1 / 16, train_size=200, batch_size=40, epochs=2, batch_norm="per-step", arithmetic="exact",
            augment=("crop", "flip"), schedule="cosine", gamma=1e-4, device=device, **changes,
        )  # fmt: skip
        result = experiments.run(config, progress=False)
        found.append((result.checksum, result.history.to_dict("list"), result.flips.to_dict()))
    assert found[0] == found[1]
