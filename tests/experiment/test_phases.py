"""A run that starts from another: what is carried over and what is not, cache, resume, dry run."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load, load_file

from bso_lib.data import random_splits
from bso_lib.experiment import paths
from bso_lib.experiment import run as experiments
from bso_lib.experiment.build import build_model, flipping_layers, load_start_
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.job import Job
from bso_lib.models import split_parameters

FIRST = RunConfig(
    model="resnet18", width=1 / 16, train_size=60, batch_norm="per-step", time_steps=1, epochs=1, batch_size=20,
    schedule="cosine", device="cpu",
)  # fmt: skip
# A threshold and a learning rate that change nothing in a step or two, unless M is lost.
SECOND = replace(FIRST, time_steps=3, epochs=2, start_from=FIRST, beta1=1 - 1e-8, gamma=0.0)


@pytest.fixture(autouse=True)
def little_data(monkeypatch, tmp_path):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "runs"))
    splits = random_splits("fashion-mini", 60)
    monkeypatch.setattr("bso_lib.experiment.run.load_splits", lambda *_: splits)


def state(result):
    return load_file(result.folder / "weights.safetensors")


def flipped(model, weights):
    """The share of the binary weights of ``model`` that differ from those in ``weights``."""
    names = [n for n, p in model.named_parameters() if any(p is q for q in split_parameters(model)[0])]
    differ = sum(int((model.get_parameter(n) != weights[n]).sum()) for n in names)
    return differ / sum(model.get_parameter(n).numel() for n in names)


def test_the_second_phase_starts_with_the_weights_and_statistics_of_the_first():
    result = experiments.run(replace(SECOND, snapshot_every=2), progress=False)
    first = state(experiments.run(FIRST, progress=False))
    start = result.load_model(0).state_dict()
    assert start.keys() == first.keys()
    assert start["1.running_mean"].shape == (3, 4)
    assert start["1.running_mean"].abs().min() > 0
    for name, value in first.items():
        assert torch.equal(start[name], value.expand_as(start[name])), name
    assert RunConfig(**json.loads((result.folder / "result.json").read_text())["config"]) == result.config


def test_shared_statistics_are_carried_over_too():
    first = replace(FIRST, batch_norm="shared")
    found = experiments.run(first, progress=False)
    model = build_model(replace(first, time_steps=4), 10, 1)
    load_start_(model, state(found))
    assert torch.equal(model[1].running_var, found.load_model()[1].running_var)


def test_momentum_is_kept_and_without_it_the_first_update_scatters_the_weights():
    one_update = replace(SECOND, time_steps=1, epochs=1, batch_size=60)
    first = state(experiments.run(FIRST, progress=False))
    kept = experiments.run(one_update, progress=False).load_model()
    lost = experiments.run(replace(one_update, start_momentum="zero"), progress=False).load_model()
    assert flipped(kept, first) < 0.001
    assert flipped(lost, first) > 0.1


def test_momentum_is_m_at_the_end_of_the_first_phase():
    train, _ = random_splits("fashion-mini", 60)
    first = Job(FIRST, train, "cpu")
    for number, p in enumerate(split_parameters(first.trainer.model)[0], 1):
        first.trainer.optimizers[-1].state[p]["momentum"] = torch.full_like(p, number)
    files = first.outcome()[1]
    start = load(files["weights.safetensors"]), load(files["momentum.safetensors"])
    second = Job(SECOND, train, "cpu", start)
    for number, p in enumerate(split_parameters(second.trainer.model)[0], 1):
        found = second.trainer.optimizers[-1].state[p]
        assert torch.equal(found["momentum"], torch.full_like(p, number))
        assert found["momentum"].stride() == p.stride()
        assert not found["v"].any()
    assert not Job(replace(SECOND, start_momentum="zero"), train, "cpu", start).trainer.optimizers[-1].state


def test_the_first_phase_is_a_run_of_its_own_in_the_cache(monkeypatch):
    experiments.run(FIRST, progress=False)
    trained = []
    real = Job.train_epoch
    monkeypatch.setattr(Job, "train_epoch", lambda job, *a: trained.append(job.config.time_steps) or real(job, *a))
    experiments.run(SECOND, progress=False)
    assert trained == [3, 3]
    experiments.run(replace(SECOND, seed=1), progress=False)
    experiments.run(SECOND, progress=False)
    assert trained == [3, 3, 3, 3]
    configs = FIRST, SECOND, replace(SECOND, seed=1), replace(SECOND, start_from=None)
    assert len({experiments.run_key(config) for config in configs}) == 4
    assert experiments.run_key(SECOND) != experiments.run_key(replace(SECOND, start_from=replace(FIRST, seed=1)))
    assert experiments.run_key(SECOND) == experiments.run_key(RunConfig(**asdict(SECOND)))


def test_an_interrupted_second_phase_resumes_exactly(monkeypatch, tmp_path):
    real = Job.checkpoint

    def checkpoint(job, folder, epoch):
        real(job, folder, epoch)
        if job.config.time_steps == 3:
            raise KeyboardInterrupt

    config = replace(SECOND, beta1=0.99)
    with monkeypatch.context() as patch:
        patch.setattr(Job, "checkpoint", checkpoint)
        with pytest.raises(KeyboardInterrupt):
            experiments.run(config, progress=False)
    resumed = experiments.run(config, progress=False)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "whole"))
    whole = experiments.run(config, progress=False)
    assert whole.folder != resumed.folder
    assert resumed.history.equals(whole.history)
    assert resumed.flips.to_dict() == whole.flips.to_dict()
    ours, theirs = state(resumed), state(whole)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("method", ["fp", "ste", "bso"])
def test_every_method_has_phases(method):
    first = replace(FIRST, method=method, trace="none")
    result = experiments.run(replace(first, time_steps=2, start_from=first), progress=False)
    assert len(result.history) == 1


def test_a_damaged_momentum_is_computed_again():
    folder = experiments.run(FIRST, progress=False).folder
    (folder / "momentum.safetensors").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"momentum.safetensors does not match its checksum.*computed again"):
        experiments.run(SECOND, progress=False)


def test_layers_are_numbered_by_their_conv():
    numbers = list(flipping_layers(build_model(FIRST, 10, 1)))
    assert numbers == [n for n in range(1, 21) if n not in (1, 7, 12, 17)]  # the first, and 1x1 convs of shortcuts


def test_a_dry_run_takes_a_few_steps_of_both_phases(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    monkeypatch.setenv("DRY_RUN", "1")
    first = replace(FIRST, epochs=100, batch_size=64)
    result = experiments.run(replace(SECOND, epochs=30, start_from=first), progress=False)
    assert (len(result.history), result.config.start_from.epochs, result.config.start_from.batch_size) == (2, 2, 2)
