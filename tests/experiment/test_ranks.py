"""Several ranks train as one process does: the same weights on all, the same flips, the same checkpoints."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from ranks import together
from safetensors.torch import load
from torch import nn

from bso_lib.data.images import Split
from bso_lib.experiment import job
from bso_lib.experiment import run as experiments
from bso_lib.experiment.build import build_model, build_optimizers
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.ranks import LostRank, agreed, check_share, parallel, share, summed, world, writes
from bso_lib.measure.one_thread import one_thread
from bso_lib.training import train_batch

STEPS, SAMPLES = 3, 16
TINY = RunConfig(
    train_size=200, width=1 / 32, batch_norm="per-step", time_steps=2, epochs=2, batch_size=40,
    augment=("crop", "flip"), momentum=0.9, gamma=1e-4, schedule="cosine", device="cpu", snapshot_every=2,
)  # fmt: skip
KINDS = [
    ("bso", "online", "shared", torch.float32),
    ("bso", "online", "shared", torch.float64),
    ("t-bso", "online", "per-step", torch.float32),
    ("t-bso", "online", "per-step", torch.float64),
    ("t-bso", "accumulated", "shared", torch.float64),
    ("bso", "bptt", "shared", torch.float64),
    ("ste", "online", "per-step", torch.float64),
]


def follow(method, training, norm, dtype):
    """Train a few batches; return after each update of the last optimizer weights, momenta and running statistics."""
    torch.manual_seed(0)
    config = replace(TINY, method=method, training=training, batch_norm=norm, beta1=0.9, beta2=0.99)
    model = build_model(config, 10, 1).to(dtype)
    network = parallel(model, config.time_steps if training == "accumulated" else 1)
    optimizers, _ = build_optimizers(config, model, STEPS)
    flipping = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)][1:]
    seen = []

    def note(optimizer, *_):
        momenta = [optimizer.state[p].get("momentum", optimizer.state[p].get("momentum_buffer")) for p in flipping]
        weights, momenta = (torch.cat([x.detach().flatten() for x in xs]) for xs in (flipping, momenta))
        running = torch.cat([b.flatten() for n, b in model.named_buffers() if "running" in n])
        seen.append({"weights": weights, "momenta": momenta, "running": running.clone()})

    optimizers[-1].register_step_post_hook(note)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        images = torch.randn(SAMPLES, 1, 12, 12, generator=generator).to(dtype)
        labels = torch.randint(10, (SAMPLES,), generator=generator)
        train_batch(network, share(images), share(labels), optimizers, config.time_steps, training)
    return seen


def in_float64(monkeypatch):
    """Let runs be computed in float64, so that the order of a sum hardly shows."""
    build, normalise = job.build_model, Split.normalise
    monkeypatch.setattr(job, "build_model", lambda *a: build(*a).double())
    monkeypatch.setattr(Split, "normalise", lambda *a: normalise(*a).double())


def run_until(epoch, monkeypatch):
    """Run TINY and stop after the checkpoint of ``epoch``; None: go to the end, return what all ranks get."""
    store = job.Job.checkpoint

    def checkpoint(self, folder, at):
        store(self, folder, at)
        if at == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(job.Job, "checkpoint", checkpoint)
    try:
        result = experiments.run(TINY, progress=False)
    except KeyboardInterrupt:
        return None
    return {"history": result.history.to_dict("list"), "processes": result.provenance["processes"]}


def in_all_ranks(folder, epoch):
    """What each rank does: take a share, follow every kind of training, begin or go on with the run of TINY."""
    found = {"world": world(), "share": share(torch.arange(8)), "follow": {kind: follow(*kind) for kind in KINDS}}
    try:
        check_share(SAMPLES + 1)
    except ValueError as error:
        found["refused"] = str(error)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("BSO_CACHE", str(folder / "runs"))
        in_float64(monkeypatch)
        return found | {"run": run_until(epoch, monkeypatch)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process, two and four found; two stopped their run after an epoch, four went on with it."""
    alone, shared = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("shared")
    with one_thread():  # as each rank: their number is part of a run's name, the number of ranks is not
        one = in_all_ranks(alone, None)
    return {
        2: together(in_all_ranks, 2, shared, shared, 1),
        4: together(in_all_ranks, 4, shared, shared, None),
        1: [one],
        "alone": alone,
        "shared": shared,
    }


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_rank_has_its_share_and_refuses_what_cannot_be_shared(found, ranks):
    for rank, result in enumerate(found[ranks]):
        assert result["world"] == (rank, ranks)
        assert torch.equal(result["share"], torch.arange(8).view(ranks, -1)[rank])
        assert result["refused"] == f"a batch of 17 cannot be shared by {ranks} processes: the number must divide it"
    assert "refused" not in found[1][0]


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_all_ranks_hold_the_same_after_every_update(found, ranks, kind):
    first, *others = [result["follow"][kind] for result in found[ranks]]
    assert len(first) == STEPS * (2 if kind[1] == "online" else 1)
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert all(torch.equal(a[name], b[name]) for name in ("weights", "momenta", "running"))


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_they_take_the_steps_of_one_process_with_the_whole_batch(found, ranks, kind):
    """Sums are taken in another order: in float64 no sign differs; in float32 one may, where w M = threshold."""
    one, many = found[1][0]["follow"][kind], found[ranks][0]["follow"][kind]
    double = kind[-1] == torch.float64
    differing = [int((a["weights"].sign() != b["weights"].sign()).sum()) for a, b in zip(one, many, strict=True)]
    assert max(differing) <= (0 if double else 3), differing
    for a, b, before in zip(one, many, [0, *differing[:-1]], strict=True):
        if not before:  # a sign that differs changes what follows
            for name in ("momenta", "running"):
                scale = float(a[name].abs().max())
                torch.testing.assert_close(b[name], a[name], rtol=0, atol=scale * (1e-12 if double else 1e-4))
    assert int((one[0]["weights"].sign() != one[-1]["weights"].sign()).sum()) > 10  # there was something to get wrong


def test_a_run_goes_on_with_another_number_of_ranks_as_if_never_interrupted(found):
    """Begun by two, finished by four, in float64; against one process that was not interrupted."""
    assert all(result["run"] is None for result in found[2])
    result = found[4][0]["run"]
    assert all(other["run"] == result for other in found[4])
    expected = found[1][0]["run"]
    assert (result["processes"], expected["processes"]) == (4, 1)
    for name, values in expected["history"].items():
        assert result["history"][name] == pytest.approx(values, rel=1e-12)
    (folder,), (whole,) = found["shared"].glob("runs/*"), found["alone"].glob("runs/*")
    assert folder.name == whole.name  # the number of ranks is no part of a run's name
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.iterdir())
    for name in ("weights-0000.safetensors", "weights.safetensors"):
        weights, reference = (load((path / name).read_bytes()) for path in (folder, whole))
        for key, value in reference.items():
            torch.testing.assert_close(weights[key], value, rtol=1e-9, atol=1e-12)
    signs = [key for key, value in reference.items() if bool((value.abs() == 1).all()) and value.dim() == 4]
    assert len(signs) == 7  # the binary convs, equal to the bit as +-1 is


def test_alone_everything_is_as_without_ranks():
    batch, model = torch.arange(5), nn.Linear(2, 2)
    assert share(batch) is batch
    assert parallel(model) is model
    assert agreed({"a": 1}) == {"a": 1}
    assert int(summed(torch.tensor(3))) == 3
    assert writes()


def one_goes():
    if world()[0] == 0:
        summed(torch.zeros(1))
    return "gone"


def one_hangs():
    if world()[0] == 0:
        summed(torch.zeros(1))
    time.sleep(4)
    return "still there"


@pytest.mark.parametrize(("function", "other"), [(one_goes, "gone"), (one_hangs, "still there")])
def test_a_rank_that_is_gone_or_hangs_is_reported_in_bounded_time(function, other, tmp_path):
    lost, found = together(function, 2, tmp_path, timeout=timedelta(seconds=2))
    assert isinstance(lost, LostRank)
    assert re.match(
        r"rank 0 of 2 lost another one \(.*\); the same command goes on from the last checkpoint", str(lost)
    )
    assert found == other


ALONE = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
LEFT = """
from pathlib import Path
from torch import nn
from bso_lib.experiment.ranks import Parallel, process_group

def threads():
    names = [path.joinpath("comm").read_text() for path in Path("/proc/self/task").iterdir()]
    return [name for name in names if "gloo" in name]

with process_group("cpu"):
    Parallel(nn.Linear(2, 2))
    assert threads()
assert not threads()
"""


def test_no_thread_of_a_group_is_left_that_could_abort_the_end_of_the_process():
    subprocess.run([sys.executable, "-c", LEFT], env={**os.environ, **ALONE}, check=True)


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_killed_rank_ends_the_job_and_the_same_command_goes_on(tmp_path):
    """Two ranks under torchrun, one killed within an epoch; begun again by one, as if never interrupted by a rank."""
    config = replace(TINY, epochs=6, record_flips=False)
    with one_thread():
        folder = tmp_path / experiments.run_key(config)
    (tmp_path / "config.json").write_text(json.dumps(asdict(config)))
    command = ["-m", "bso_lib", "--config", str(tmp_path / "config.json")]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "BSO_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *torchrun, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(folder.glob("checkpoint-*.pt")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    ranks = children(process.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Signal 9 (SIGKILL)" in errors
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    assert not (folder / "result.json").exists()
    done = sorted(folder.glob("checkpoint-*.pt"))
    assert done
    again = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0, again.stderr
    stored = json.loads((folder / "result.json").read_text())
    assert [row["epoch"] for row in stored["history"]] == list(range(1, 7))
    assert f"kept as {folder.name}" in again.stdout
