"""A packed run is a run as any other: the plain one to the bit, cached, resumed, and loaded in plain layers."""

from dataclasses import replace

import pytest
import torch

from bso_lib.data import random_splits
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.job import MOMENTUM_FILE, WEIGHTS_FILE, Job
from bso_lib.experiment.run import run
from bso_lib.fast.packed_layers import packed_layers

SMALL = RunConfig(
    width=1 / 16, batch_size=4, epochs=2, time_steps=2, train_size=30, schedule="cosine", device="cpu",
    record_flips=False,
)  # fmt: skip


@pytest.fixture
def little_data(monkeypatch, tmp_path):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    splits = random_splits("fashion-mini", 12)
    monkeypatch.setattr("bso_lib.experiment.run.load_splits", lambda *_: splits)


@pytest.mark.parametrize("changes", [{"method": "bso"}, {"momentum": 0.9, "batch_norm": "per-step", "trace": "ndot"}])
def test_it_is_the_plain_run_to_the_bit(little_data, changes):
    plain = run(replace(SMALL, **changes), progress=False)
    packed = run(replace(SMALL, **changes, packed="float32"), progress=False)
    assert packed.folder != plain.folder
    assert packed.history.to_dict() == plain.history.to_dict()
    for name in (WEIGHTS_FILE, MOMENTUM_FILE):
        assert (packed.folder / name).read_bytes() == (plain.folder / name).read_bytes()
    images = torch.randn(4, 1, 28, 28)
    models = [result.load_model() for result in (packed, plain)]
    for model in models:
        model.reset_state()
    assert torch.equal(models[0](images), models[1](images))


@pytest.mark.parametrize("momentum", ["float32", "bfloat16"])
def test_it_is_seeded_and_resumes_to_the_bit(momentum, little_data, tmp_path, monkeypatch):
    config = replace(SMALL, packed=momentum)
    whole = run(config, progress=False)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cut"))
    store = Job.checkpoint

    def checkpoint(job, folder, epoch):
        store(job, folder, epoch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Job, "checkpoint", checkpoint)
        with pytest.raises(KeyboardInterrupt):
            run(config, progress=False)
    again = run(config, progress=False)
    assert again.folder != whole.folder
    for name in (WEIGHTS_FILE, MOMENTUM_FILE):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_job_uses_the_settings_of_its_config(little_data):
    config = replace(SMALL, gamma=3e-7, beta1=0.9, beta2=0.99, eps=1e-18, seed=4, packed="bfloat16")
    job = Job(config, random_splits("fashion-mini", 12)[0], "cpu")
    assert len(packed_layers(job.trainer.model)) == 7
    flipping = job.trainer.optimizers[-1]
    (group,) = flipping.param_groups
    assert {name: group[name] for name in ("gamma", "beta1", "beta2", "eps")} == {
        "gamma": 3e-7, "beta1": 0.9, "beta2": 0.99, "eps": 1e-18,
    }  # fmt: skip
    assert flipping.generator.initial_seed() == 4
    assert flipping.momentum_dtype == torch.bfloat16


def test_a_second_phase_starts_from_it(little_data):
    first = replace(SMALL, packed="float32", time_steps=1)
    after, plain = (
        run(replace(SMALL, start_from=before), progress=False) for before in (first, replace(first, packed="no"))
    )
    assert after.history.to_dict() == plain.history.to_dict()
