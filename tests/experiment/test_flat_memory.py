"""Memory does not grow: over a thousand batches, and over a hundred runs in one process."""

import gc
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bso_lib.data import random_splits
from bso_lib.experiment import paths
from bso_lib.experiment import run as experiments
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.job import Job

RESIDENT = 8 * 2**20  # bytes of growth that are allowed: pages of the allocator
OBJECTS = 200  # of Python: its caches
TINY = RunConfig(width=1 / 64, time_steps=1, batch_size=2, gamma=1e-5, schedule="cosine", device="cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


def held(device):
    """Return (resident bytes, bytes on the GPU, Python's objects, tensors, open files) of this process."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    objects = gc.get_objects()
    tensors = sum(issubclass(type(each), torch.Tensor) for each in objects)
    gpu = torch.cuda.memory_allocated() if device == "cuda" else 0
    return resident, gpu, len(objects), tensors, len(os.listdir("/proc/self/fd"))


def assert_flat(first, last):
    growth = [b - a for a, b in zip(first, last, strict=True)]
    assert growth[0] <= RESIDENT, growth
    assert growth[1] <= 0, growth
    assert growth[2] <= OBJECTS, growth
    assert growth[3] <= 0, growth
    assert growth[4] <= 0, growth


class Bar:
    def update(self):
        pass


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("changes", "batches"), [({}, 1000), ({"method": "ste"}, 300), ({"arithmetic": "exact"}, 300)], ids=str
)
def test_a_thousand_batches(changes, batches, device):
    config, seen = replace(TINY, device=device, **changes), []
    train, _ = random_splits("fashion-mini", 2 * batches)
    job = Job(config, train.to(device), device)

    def look():
        if job.begun["batches"] in (batches // 4, batches - 1):
            seen.append(held(device))

    job.train_epoch(train.to(device), Bar(), look)
    assert_flat(*seen)


def test_a_hundred_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    monkeypatch.setenv("DRY_RUN", "1")
    seen = []
    for number in range(100):
        result = experiments.run(replace(TINY, gamma=1e-5 * (1 + number)), progress=False)
        assert len(result.history) == 2
        if number in (30, 99):
            del result
            seen.append(held("cpu"))
    assert len(list((tmp_path / "build" / "dry-run" / "runs").iterdir())) == 100
    assert_flat(*seen)


def test_a_leak_would_be_seen():
    kept = []
    first = held("cpu")
    kept.append(torch.ones(10 * 2**20))
    with pytest.raises(AssertionError):
        assert_flat(first, held("cpu"))
