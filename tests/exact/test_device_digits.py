"""No operation of an exact run is one that a GPU computes with other digits: what a machine without one can tell."""

from dataclasses import replace

import pytest
import torch
from device_digits import DeviceDigits

from bso_lib.data import load_dataset
from bso_lib.exact import conv_norm, integer, lif, passes, pooling
from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.training import evaluate

# Three time steps and batches of 12: no power of two but where one must be. VGG-11 pools maps of 3 x 3 pixels.
SMALL = RunConfig(
    width=1 / 32, train_size=30, batch_size=12, time_steps=3, batch_norm="per-step", arithmetic="exact", beta1=0.99,
    schedule="cosine", gamma=1e-4, device="cpu", augment=("crop",), record_flips=False,
)  # fmt: skip
KINDS = {
    "T-BSO, packed, squared error": {"packed": "float32", "mse_weight": 0.05},
    "T-BSO, NDOT, as published": {"eps_place": "outside", "sign_of_zero": "zero", "trace": "ndot-code"},
    "STE + BPTT": {"method": "ste", "training": "bptt", "latent_lr": 10.0, "momentum": 0.9},
    "FP, accumulated": {"method": "fp", "training": "accumulated"},
    "BSO, ResNet-18, shared statistics": {"method": "bso", "model": "resnet18", "batch_norm": "shared"},
}


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Take the passes and the convolutions in PyTorch, which are the ones for any device."""
    for module in (conv_norm, lif, pooling):
        monkeypatch.setattr(module, "passes_on", lambda kind: passes)
    monkeypatch.setattr(integer, "has_instructions", lambda: False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_no_operation_of_other_digits(kind, as_on_a_gpu):
    config = replace(SMALL, **KINDS[kind])
    train, _ = load_dataset(config.dataset)
    few, rest = train.first_per_class(config.train_size // 10)
    trainer = Trainer(config, build_model(config, 10, 1), batches=2)
    batches = few.batches(config.batch_size, torch.Generator().manual_seed(0), config.augment)
    trainer.model.train()
    trainer.step(*next(batches))  # makes the surrogate's table, on a CPU wherever the run is
    with DeviceDigits() as watch:
        trainer.step(*next(batches))
        some, _ = rest.first_per_class(1)
        evaluate(trainer.model, some, config.time_steps)
    assert watch.found == set()


@pytest.mark.parametrize(
    "operation",
    [
        lambda x, y: x / 3, lambda x, y: x.mul(2).div_(9.0), lambda x, y: torch.add(x, y, alpha=0.3),
        lambda x, y: torch.addcmul(x, y, y), lambda x, y: x.exp(), lambda x, y: x.mean(), lambda x, y: x.sum(0),
        lambda x, y: x @ y.t(), lambda x, y: torch.conv2d(x[None, None], y[None, None, :3, :3]),
    ],
)  # fmt: skip
def test_the_watch_finds_what_it_is_for(operation):
    x, y = torch.randn(2, 100, 100)
    with DeviceDigits() as watch:
        operation(x, y)
    assert len(watch.found) == 1


def test_the_watch_lets_pass_what_is_exact():
    x, y = torch.randint(-8, 8, (2, 100, 100)).float()
    with DeviceDigits() as watch:
        torch.conv2d(x[None, None], y[None, None])
        (x / 4 + 1 / y, torch.add(x, y, alpha=0.5), x.sum(), x @ y, x.sqrt())
    assert watch.found == set()
