"""What must also hold on a GPU; skipped without one."""

from dataclasses import replace

import pytest
import torch

from bso_lib import experiments
from bso_lib.config import RunConfig
from bso_lib.models import split_parameters
from bso_lib.optim import TBSO

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
