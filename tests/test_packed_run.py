"""A packed run is the plain run to the bit; what cannot be packed is refused."""

from dataclasses import replace

import pytest
import torch

from bso_lib.data import random_splits
from bso_lib.experiments import RunConfig, run
from bso_lib.packed.layers import packed_layers
from bso_lib.packed.run import PackedJob, packed_run

SMALL = RunConfig(width=1 / 16, batch_size=4, epochs=2, time_steps=2, train_size=30, schedule="cosine", device="cpu")


@pytest.fixture
def little_data(monkeypatch, tmp_path):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    splits = random_splits("fashion-mini", 12)
    monkeypatch.setattr("bso_lib.experiments.load_splits", lambda *_: splits)
    monkeypatch.setattr("bso_lib.packed.run.load_splits", lambda *_: splits)


@pytest.mark.parametrize("changes", [{"method": "bso"}, {"momentum": 0.9, "batch_norm": "per-step", "trace": "ndot"}])
def test_the_history_is_the_plain_runs(little_data, changes):
    config = replace(SMALL, **changes)
    plain = run(config, progress=False).history
    assert packed_run(config, progress=False).to_dict() == plain.to_dict()


def test_bfloat16_momentum_is_seeded(little_data):
    first, again = (packed_run(SMALL, torch.bfloat16, progress=False) for _ in range(2))
    assert first.to_dict() == again.to_dict()


def test_a_job_uses_the_settings_of_its_config(little_data):
    config = replace(SMALL, gamma=3e-7, beta1=0.9, beta2=0.99, eps=1e-18, seed=4)
    job = PackedJob(config, random_splits("fashion-mini", 12)[0], "cpu", torch.bfloat16)
    assert len(packed_layers(job.model)) == 7
    (group,) = job.optimizers[-1].param_groups
    assert {name: group[name] for name in ("gamma", "beta1", "beta2", "eps")} == {
        "gamma": 3e-7, "beta1": 0.9, "beta2": 0.99, "eps": 1e-18,
    }  # fmt: skip
    assert job.optimizers[-1].generator.initial_seed() == 4
    assert job.recorder is None


def test_a_second_phase_is_refused(little_data):
    with pytest.raises(ValueError, match="one phase: start_from must be None"):
        packed_run(replace(SMALL, start_from=SMALL), progress=False)


@pytest.mark.parametrize(
    "changes",
    [{"method": "fp"}, {"method": "ste"}, {"training": "bptt"}, {"training": "accumulated"}, {"start": "kaiming"}],
)
def test_what_cannot_be_packed_is_refused(little_data, changes):
    with pytest.raises(ValueError, match="packed layers train by 'bso' or 't-bso'"):
        packed_run(replace(SMALL, **changes), progress=False)
