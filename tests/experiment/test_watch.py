"""A run says while it goes on, once, that it diverges, that nothing flips any more, or that everything does."""

import warnings
from dataclasses import replace

import pytest
import torch

from bso_lib.experiment import run as experiments
from bso_lib.experiment import watch
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.watch import Watch

TINY = RunConfig(
    train_size=200, width=1 / 32, batch_norm="per-step", time_steps=2, epochs=3, batch_size=20, gamma=1e-4,
    schedule="cosine", device="cpu",
)  # fmt: skip


def said(config, tmp_path, monkeypatch):
    """Return the lines that the run of ``config`` warns with."""
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    monkeypatch.setattr(watch, "LEAST", 20)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        experiments.run(config, progress=False)
    return [str(warning.message) for warning in found]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"gamma": 1e9},
            "nothing flips any more in epoch 1: no sign has changed in 20 updates; gamma=1e+09 may be too high",
        ),
        ({"gamma": 0, "beta1": 0, "schedule": "constant"}, "everything flips in epoch 1: on average a sign changes in"),
        ({"method": "ste", "latent_lr": 0}, "no sign has changed in 20 updates; latent_lr=0 may be too low"),
        ({"method": "fp", "lr": 3e3}, "training diverges in epoch 1: a loss of"),
    ],
)
def test_what_goes_wrong_is_said_once(changes, line, tmp_path, monkeypatch):
    lines = [text for text in said(replace(TINY, **changes), tmp_path, monkeypatch) if line in text]
    assert len(lines) == 1


def test_a_run_that_goes_well_says_nothing(tmp_path, monkeypatch):
    assert said(TINY, tmp_path, monkeypatch) == []


def test_a_loss_that_is_no_number_ends_the_run_at_the_next_look():
    look = Watch(TINY, None, batches=2, classes=10)
    look.after_batch(torch.tensor(2.3), 1)
    with pytest.raises(ArithmeticError, match="training diverged in epoch 1"):
        look.after_batch(torch.tensor(float("nan")), 1)


def test_a_look_is_rare():
    class Loss:
        def detach(self):
            pytest.fail("looked")

    look = Watch(TINY, None, batches=10_000, classes=10)
    for _ in range(watch.EVERY - 1):
        look.after_batch(Loss(), 1)
