"""What must hold on every device there is: the CPU always, CUDA where there is one."""

from dataclasses import replace

import pytest
import torch

from bso_lib.experiment import run as experiments
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.job import Job
from bso_lib.models import split_parameters
from bso_lib.optim import BSO, TBSO

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SETTINGS = {
    "train_size": 300, "width": 1 / 16, "batch_norm": "per-step", "epochs": 2, "batch_size": 50,
    "augment": ("crop", "flip", "cutout"), "schedule": "cosine", "beta1": 0.99, "latent_lr": 10.0,
}  # fmt: skip


@pytest.fixture(params=DEVICES)
def tiny(request, tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    return RunConfig(**SETTINGS, device=request.param)


@pytest.mark.parametrize("method", ["fp", "ste", "bso", "t-bso"])
@pytest.mark.parametrize("training", ["online", "bptt"])
def test_every_method_trains_there(method, training, tiny):
    result = experiments.run(replace(tiny, method=method, training=training), progress=False)
    assert result.history["train_loss"].iloc[-1] < result.history["train_loss"].iloc[0]
    binary, _ = split_parameters(result.load_model())
    assert len(binary) == (7 if method in ("bso", "t-bso") else 0)
    assert all(bool((p.abs() == 1).all()) for p in binary)


def test_an_interrupted_run_resumes_with_its_generators(tiny, tmp_path, monkeypatch):
    store = Job.checkpoint

    def stop(job, folder, epoch):
        store(job, folder, epoch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Job, "checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            experiments.run(tiny, progress=False)
    resumed = experiments.run(tiny, progress=False)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "whole"))
    whole = experiments.run(tiny, progress=False)
    assert resumed.folder != whole.folder
    assert resumed.history["epoch"].tolist() == [1, 2]
    if tiny.device == "cpu":  # on a GPU sums may be taken in another order each time
        assert resumed.history.equals(whole.history)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [BSO, TBSO])
@pytest.mark.parametrize("capturable", [False, True])
def test_the_optimizers_step_there_as_in_float64_on_the_cpu(device, kind, capturable):
    start, gradients = torch.randint(2, (500,)) * 2.0 - 1, torch.randn(40, 500)
    settings = {"gamma": 0.5, "beta1": 0.9} if kind is TBSO else {"gamma": 0.05, "beta": 0.9}
    found = []
    for where, dtype in (("cpu", torch.float64), (device, torch.float32)):
        w = torch.nn.Parameter(start.clone().to(where, dtype))
        optimizer = kind([w], *((2,) if kind is TBSO else ()), **settings, capturable=capturable)
        for k, gradient in enumerate(gradients):
            w.grad = gradient.to(where, dtype)
            optimizer.step(**({"t": k % 2} if kind is TBSO else {}))
        found.append([x.detach().double().cpu() for x in (w, *optimizer.state[w].values())])
    for exact, single in zip(*found, strict=True):
        torch.testing.assert_close(exact, single, rtol=1e-4, atol=1e-6)
    assert not torch.equal(found[1][0], start.double())
