"""The promise: the same bits with other threads, instructions and ranks, and after a resume."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import together

from bso_lib.data import load_dataset
from bso_lib.exact.convert import exact
from bso_lib.experiment import run as experiments
from bso_lib.experiment.build import Trainer, build_model
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.job import Job
from bso_lib.experiment.ranks import accuracy, share
from bso_lib.training import evaluate

ROOT = Path(__file__).parents[2]
TINY = RunConfig(
    width=1 / 32, train_size=200, batch_size=40, epochs=1, batch_norm="per-step", arithmetic="exact", beta1=0.99,
    schedule="cosine", gamma=1e-4, device="cpu", augment=("crop",),
)  # fmt: skip
KINDS = {
    "T-BSO": {},
    "BSO, shared statistics": {"method": "bso", "batch_norm": "shared", "trace": "none"},
    "T-BSO, packed": {"packed": "float32", "record_flips": False},
    "STE + OTTT": {"method": "ste", "latent_lr": 10.0, "momentum": 0.9},
    "STE + BPTT": {"method": "ste", "training": "bptt", "latent_lr": 10.0},
    "STE, decay": {
        "method": "ste",
        "ste_clip": False,
        "latent_lr": 10.0,
        "latent_momentum": 0.0,
        "latent_decay": 1e-3,
        "momentum": 0.9,
        "train_size": 80,
    },
    "T-BSO, accumulated": {"training": "accumulated"},
    "T-BSO, NDOT, squared error": {"trace": "ndot", "mse_weight": 0.05, "time_steps": 3},
    "BSO, ResNet-18": {"method": "bso", "model": "resnet18", "train_size": 80},
    "FP, OTTT": {"method": "fp", "momentum": 0.9},
    "STE + Adam": {"method": "ste-adam", "latent_lr": 0.01, "train_size": 80},
    "BOLD": {"method": "bold", "latent_lr": 1e5, "train_size": 80},
}
# Other machines, played by this one. Without fused multiply-add there is only "default".
MACHINES = {
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "4 threads, no FMA": {"OMP_NUM_THREADS": "4", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "2 threads, AVX2": {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "1 thread, no compiled passes": {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent / "no_numba")},
}


def outcome(config):
    """Train a few batches as a run does; return the SHA-256 of all that was learned, the losses and the accuracy."""
    torch.manual_seed(config.seed)
    train, _ = load_dataset(config.dataset)
    few, rest = train.first_per_class(config.train_size // 10)
    trainer = Trainer(config, build_model(config, 10, 1), batches=len(few) // config.batch_size)
    generator = torch.Generator().manual_seed(config.seed)
    trainer.model.train()
    losses = [
        trainer.step(images, labels)[0].item()
        for images, labels in few.batches(config.batch_size, generator, config.augment, share)
    ]
    digest = hashlib.sha256()
    for name, value in sorted((trainer.weights() | {f"{n} M": m for n, m in trainer.momentum().items()}).items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    score = accuracy(trainer.model, rest.first_per_class(10)[0], config.time_steps)
    return [digest.hexdigest(), losses, score]


@pytest.fixture(scope="module")
def here():
    return {name: outcome(replace(TINY, **changes)) for name, changes in KINDS.items()}


@pytest.mark.parametrize("machine", MACHINES)
def test_another_machine_computes_the_same_bits(machine, here, tmp_path):
    code = (
        "import json, test_identity as t; from dataclasses import replace; import os, torch; "
        "torch.set_num_threads(int(os.environ['OMP_NUM_THREADS'])); "  # which PyTorch cuts to the number of cores
        "print(json.dumps([torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), "
        "{n: t.outcome(replace(t.TINY, **c)) for n, c in t.KINDS.items()}]))"
    )
    own = MACHINES[machine]
    path = os.pathsep.join(
        [*own.get("PYTHONPATH", "").split(os.pathsep), *(str(ROOT / p) for p in ("tests/exact", "tests"))]
    )
    environment = os.environ | {"GOMP_SPINCOUNT": "1000"} | own | {"PYTHONPATH": path, "BSO_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    threads, capability, found = json.loads(done.stdout)
    assert str(threads) == own["OMP_NUM_THREADS"]
    assert capability.lower() == own.get("ATEN_CPU_CAPABILITY", capability).lower()
    for name, expected in here.items():
        assert found[name] == expected, name


def on_ranks(kinds):
    return {name: outcome(replace(TINY, **KINDS[name])) for name in kinds}


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_compute_the_bits_of_one(ranks, here, tmp_path):
    kinds = [name for name in KINDS if "packed" not in name]
    for found in together(on_ranks, ranks, tmp_path, kinds):
        for name in kinds:
            assert found[name] == here[name], name


def whole_run(folder, stop_after=None):
    """Run two epochs in the cache ``folder``, or break it off after the checkpoint of one; return all its results."""
    store = Job.checkpoint

    def stop(job, where, epoch):
        store(job, where, epoch)
        if epoch == stop_after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BSO_CACHE", str(folder))
        patch.setattr(Job, "checkpoint", stop)
        result = experiments.run(replace(TINY, epochs=2), progress=False)
    return [result.checksum, result.history.to_dict("list"), result.flips.to_dict()]


def test_a_run_goes_on_with_other_threads_and_ranks(tmp_path):
    """An epoch with the threads of this process, another on two ranks: the name of the run and its checkpoint serve."""
    with pytest.raises(KeyboardInterrupt):
        whole_run(tmp_path / "cache", stop_after=1)
    assert len(list((tmp_path / "cache").rglob("checkpoint-0001.pt"))) == 1
    whole = whole_run(tmp_path / "whole")
    for found in together(whole_run, 2, tmp_path, tmp_path / "cache"):
        assert found == whole
    assert len({path.name for folder in ("cache", "whole") for path in (tmp_path / folder).iterdir()}) == 1


def test_the_name_of_an_exact_run_does_not_tell_the_machine(monkeypatch):
    names = []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        names.append([experiments.run_key(c) for c in (TINY, replace(TINY, arithmetic="float32"))])
    assert names[0][0] == names[1][0]
    assert names[0][1] != names[1][1]


def test_a_loaded_network_answers_as_the_run_was_scored(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    result = experiments.run(TINY, progress=False)
    _, test = experiments.load_splits(result.config)
    assert evaluate(exact(result.load_model()), test, 2, batch_size=77) == result.accuracy


def test_the_switches_that_exact_arithmetic_excludes_are_named():
    for change, needed in (({"precision": "bfloat16"}, "float32"), ({"start": "kaiming"}, "grid")):
        with pytest.raises(ValueError, match=rf"RunConfig.arithmetic='exact': needs {next(iter(change))}='{needed}'"):
            replace(TINY, **change)
    with pytest.raises(ValueError, match="arithmetic='fixed': must be one of float32, exact"):
        replace(TINY, arithmetic="fixed")
