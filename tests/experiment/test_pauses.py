"""Checkpoints within an epoch: by minutes and by signals, exact on resume, and how a run ends when it is told to."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from ranks import together
from safetensors.torch import load

from bso_lib.experiment import paths, pauses
from bso_lib.experiment import run as experiments
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.job import Job
from bso_lib.experiment.pauses import Interrupted, Pauses, checkpoint_minutes
from bso_lib.experiment.ranks import world

TINY = RunConfig(
    train_size=200, width=1 / 32, batch_norm="per-step", time_steps=2, epochs=2, batch_size=40,
    augment=("crop", "flip"), momentum=0.9, gamma=1e-4, schedule="cosine", device="cpu", snapshot_every=1,
)  # fmt: skip
BATCHES = 10  # of TINY
EXACT = replace(TINY, arithmetic="exact")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "runs"))
    return tmp_path / "runs"


def everything(config):
    """Return all that the finished run of ``config`` left, but for its seconds."""
    result = experiments.run(config, progress=False)
    tensors = {path.name: load(path.read_bytes()) for path in sorted(result.folder.glob("*.safetensors"))}
    return tensors, result.history.to_dict("list"), result.flips and result.flips.to_dict()


def assert_same(a, b):
    assert a[1:] == b[1:]
    assert a[0].keys() == b[0].keys()
    for name in a[0]:
        assert all(torch.equal(a[0][name][key], b[0][name][key]) for key in b[0][name]), name


def stop_after(config, batch, number, monkeypatch):
    """Run ``config`` and send this process signal ``number`` in its batch ``batch``."""
    count, step = [], experiments.Job.train_epoch.__globals__["Trainer"].step

    def counted(trainer, *arguments):
        count.append(1)
        if len(count) == batch:
            os.kill(os.getpid(), number)
        return step(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr("bso_lib.experiment.job.Trainer.step", counted)
        return experiments.run(config, progress=False)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        EXACT,
        replace(TINY, method="bso", training="accumulated"),
        replace(TINY, method="ste", latent_lr=10.0),
        replace(TINY, method="fp", training="bptt"),
        replace(TINY, packed="bfloat16", record_flips=False),
        replace(TINY, dataset="fashion-mini", precision="bfloat16"),
    ],
    ids=lambda c: f"{c.method}-{c.training}-{c.arithmetic}-{c.packed}-{c.precision}",
)
def test_a_run_that_is_stopped_at_any_batch_ends_as_if_it_never_was(config, cache, tmp_path, monkeypatch):
    for batch in (1, 3, 1, 4):  # batches 1, 4, 5 and 9 of the run: the last of an epoch, and of its first the second
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            stop_after(config, batch, signal.SIGTERM, monkeypatch)
    folder = cache / experiments.run_key(config)
    assert [path.name for path in sorted(folder.glob("checkpoint-*"))] == [
        "checkpoint-0001-0000004.pt", "checkpoint-0001.pt"
    ]  # fmt: skip
    monkeypatch.setenv("BSO_CHECKPOINT_MINUTES", "0")  # and the rest with a checkpoint after every batch
    resumed = everything(config)
    assert not list(cache.rglob("checkpoint-*"))
    monkeypatch.delenv("BSO_CHECKPOINT_MINUTES")
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "whole"))
    assert_same(resumed, everything(config))


def test_the_line_of_a_stopped_run_says_where_it_is_and_how_to_go_on(cache, monkeypatch):
    with pytest.raises(Interrupted) as stopped:
        stop_after(TINY, 7, signal.SIGINT, monkeypatch)
    assert str(stopped.value) == (
        "stopped by SIGINT in epoch 2, after batch 2 of 5 (2 epochs in all): the same command goes on from there"
    )
    with pytest.raises(Interrupted, match=r"SIGTERM after epoch 2 \(2 epochs in all\)"):
        stop_after(TINY, 3, signal.SIGTERM, monkeypatch)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_usr1_writes_one_at_once_and_goes_on(cache, monkeypatch):
    written, real = [], Job.checkpoint

    def checkpoint(job, *arguments):
        written.append((len(job.history), job.begun and job.begun["batches"]))
        real(job, *arguments)

    monkeypatch.setattr(Job, "checkpoint", checkpoint)
    stop_after(TINY, 3, signal.SIGUSR1, monkeypatch)
    assert written == [(0, 3), (1, None), (2, None)]


def test_a_programs_own_handler_is_called_after_a_checkpoint(cache, monkeypatch):
    called = []

    def requeue(number, frame):
        called.append([path.name for path in cache.rglob("checkpoint-*")])
        raise SystemExit(3)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with pytest.raises(SystemExit):
            stop_after(TINY, 3, signal.SIGUSR2, monkeypatch)
        assert signal.getsignal(signal.SIGUSR2) is requeue
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert called == [["checkpoint-0000-0000003.pt"]]


def press_ctrl_c(times):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
    return "went on"


def test_a_second_ctrl_c_ends_at_once():
    with pytest.raises(Interrupted, match="stopped by SIGINT at the end"), Pauses():
        assert press_ctrl_c(1) == "went on"
    with pytest.raises(Interrupted, match="stopped at once"), Pauses():
        press_ctrl_c(2)


def test_a_signal_after_the_last_batch_is_not_lost():
    with pytest.raises(Interrupted, match="stopped by SIGTERM at the end of a run, which is kept"), Pauses():
        os.kill(os.getpid(), signal.SIGTERM)


def test_minutes_count_by_a_clock_that_cannot_jump(monkeypatch):
    monkeypatch.setenv("BSO_CHECKPOINT_MINUTES", "1")
    now = [1000.0]
    monkeypatch.setattr(pauses.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pauses.time, "time", lambda: pytest.fail("asked the clock of the day"))
    watch, found = Pauses(), []
    for seconds in (30, 31, 0, 59, 1):
        now[0] += seconds
        found.append(watch.due())
        if found[-1]:
            watch.act("")
    assert found == [False, True, False, False, True]


def test_another_thread_leaves_signals_alone(cache):
    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]

    before, seen = handlers(), []

    def enter():
        with Pauses():
            seen.append(handlers())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("text", ["x", "-1", "nan", "1 min"])
def test_bad_minutes_are_refused_before_anything_is_written(text, cache, monkeypatch):
    monkeypatch.setenv("BSO_CHECKPOINT_MINUTES", text)
    with pytest.raises(ValueError, match=f"BSO_CHECKPOINT_MINUTES='{text}': must be a number of minutes, at least 0"):
        experiments.run(TINY, progress=False)
    assert not cache.exists()
    monkeypatch.setenv("BSO_CHECKPOINT_MINUTES", "")
    assert checkpoint_minutes() == pauses.MINUTES


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_the_command_line_ends_with_one_line(number, status, tmp_path):
    words = ["train_size=200", "width=0.03125", "batch_size=20", "epochs=400", "device=cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bso_lib", *(part for word in words for part in ("--set", word))],
        env={**os.environ, "BSO_CACHE": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(tmp_path.rglob("checkpoint-*.pt")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, "")
    last = errors.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith(f"bso_lib: stopped by {number.name} ")
    assert last.endswith("the same command goes on from there")
    assert "Traceback" not in errors


def stopped_in_rank(folder, rank, batch):
    """Run TINY in exact arithmetic; in batch ``batch`` rank ``rank`` alone gets SIGTERM."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BSO_CACHE", str(folder))
        patch.setattr(pauses, "_LOOK", 0.0)  # several ranks look after every batch
        number = signal.SIGTERM if world()[0] == rank else signal.SIGWINCH  # which changes nothing
        try:
            return stop_after(EXACT, batch, number, patch).checksum
        except Interrupted as stopped:
            return str(stopped)


def test_a_signal_to_one_rank_stops_all_at_the_same_batch_and_any_number_goes_on(tmp_path, monkeypatch):
    said = together(stopped_in_rank, 2, tmp_path, tmp_path, 1, 3)
    assert said[0] == said[1]
    assert said[0].startswith("stopped by SIGTERM in epoch 1, after batch ")
    assert list(tmp_path.rglob("checkpoint-0000-*.pt"))
    together(stopped_in_rank, 4, tmp_path, tmp_path, 0, 2)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    resumed = everything(EXACT)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "whole"))
    whole = everything(EXACT)
    assert_same((resumed[0], None, resumed[2]), (whole[0], None, whole[2]))
    for name, values in whole[1].items():
        assert resumed[1][name] == pytest.approx(values, rel=1e-6), name
    assert paths.runs_folder() == tmp_path / "whole"
