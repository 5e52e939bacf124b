"""run(): cached, never stale, resumed to the bit after SIGKILL, done once by two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from bso_lib.data import load_dataset
from bso_lib.experiment import machine, paths
from bso_lib.experiment import run as experiments
from bso_lib.experiment.build import build_model, build_optimizers
from bso_lib.experiment.checkpoint import DamagedCheckpoint, load_checkpoint, save_checkpoint
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.job import Job
from bso_lib.models import split_parameters
from bso_lib.optim import BSO, TBSO
from bso_lib.training import evaluate

TINY = RunConfig(
    dataset="fashion-mini", train_size=300, width=1 / 16, batch_norm="per-step", time_steps=2, epochs=3, batch_size=50,
    augment=("crop", "flip"), momentum=0.9, schedule="cosine", device="cpu",
)  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "runs"))
    return tmp_path / "runs"


def start(config, cache):
    """Start a process that runs ``config`` with its results under ``cache``."""
    code = "import json, sys; from bso_lib import RunConfig, run; run(RunConfig(**json.loads(sys.argv[1])))"
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(asdict(config))],
        env={**os.environ, "BSO_CACHE": str(cache)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition, process):
    """Wait until ``condition()`` while ``process`` runs, however slow a busy machine makes it."""
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)


def outcome(config, cache):
    """Return (weights, history) of the finished run of ``config`` under ``cache``."""
    folder = cache / experiments.run_key(config)
    weights = load((folder / "weights.safetensors").read_bytes())
    return weights, json.loads((folder / "result.json").read_text())["history"]


def assert_same(a, b):
    assert a[1] == b[1]
    assert a[0].keys() == b[0].keys()
    for name in a[0]:
        assert torch.equal(a[0][name], b[0][name]), name


def test_a_run_is_cached_and_reloads_its_model(cache, monkeypatch):
    first = experiments.run(TINY, progress=False)
    assert list(first.history["epoch"]) == [1, 2, 3]
    monkeypatch.setattr(experiments, "_train", lambda *_: pytest.fail("computed again"))
    again = experiments.run(TINY, progress=False)
    assert again.history.equals(first.history)
    assert again.accuracy == first.accuracy == first.history["accuracy"].iloc[-1]
    _, test = experiments.load_splits(TINY)
    assert evaluate(again.load_model(), test, TINY.time_steps) == first.accuracy
    assert not list(first.folder.glob("checkpoint*"))


def test_the_same_seed_repeats_and_another_differs(cache, tmp_path, monkeypatch):
    short = replace(TINY, epochs=1)
    experiments.run(short, progress=False)
    experiments.run(replace(short, seed=1), progress=False)
    first, other = outcome(short, cache), outcome(replace(short, seed=1), cache)
    torch.rand(5)  # the caller's own draws change nothing
    state = torch.get_rng_state()
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "elsewhere"))
    experiments.run(short, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(first, outcome(short, tmp_path / "elsewhere"))
    assert first[1] != other[1]


def test_a_run_that_is_asked_for_without_gradients_trains_all_the_same(cache, tmp_path, monkeypatch):
    plain = experiments.run(TINY, progress=False)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "another"))
    with torch.no_grad():
        assert experiments.run(TINY, progress=False).checksum == plain.checksum


@pytest.mark.parametrize("method", ["fp", "ste", "bso", "t-bso"])
@pytest.mark.parametrize("training", ["online", "accumulated", "bptt"])
def test_every_method_trains_every_way(method, training, cache):
    result = experiments.run(replace(TINY, method=method, training=training, epochs=1), progress=False)
    assert result.history["train_loss"].iloc[-1] < 2.6  # chance is log(10) = 2.3; a broken path is far above
    if method in ("bso", "t-bso"):
        assert all(bool((p.abs() == 1).all()) for p in split_parameters(result.load_model())[0])


def test_bfloat16_is_another_run_with_float32_weights(cache):
    low, full = replace(TINY, precision="bfloat16", epochs=1), replace(TINY, epochs=1)
    for config in (low, full):
        experiments.run(config, progress=False)
    (low_weights, low_history), (_, full_history) = outcome(low, cache), outcome(full, cache)
    assert low_history != full_history
    assert all(w.dtype == torch.float32 for w in low_weights.values() if w.is_floating_point())


def test_killed_at_any_moment_a_run_ends_as_if_never_interrupted(tmp_path):
    config = replace(TINY, epochs=4)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = start(config, whole)
    assert process.wait(600) == 0, process.stderr.read()
    folder = cut / experiments.run_key(config)
    moments = [
        lambda: (folder / "lock").exists(),
        lambda: (folder / "checkpoint-0001.pt").exists(),
        lambda: (folder / "checkpoint-0003.pt").exists(),
    ]
    for moment in moments:
        process = start(config, cut)
        wait_for(moment, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        (folder / ".checkpoint-0009.pt.1.part").write_bytes(b"half a write")
    assert not (folder / "result.json").exists()
    process = start(config, cut)
    assert process.wait(600) == 0, process.stderr.read()
    assert_same(outcome(config, whole), outcome(config, cut))


def interrupt_after(config, epochs, monkeypatch):
    """Run ``config`` in this process and stop it once ``epochs`` checkpoints are written; return its folder."""
    real = Job.checkpoint

    def checkpoint(job, folder, epoch):
        real(job, folder, epoch)
        if epoch == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Job, "checkpoint", checkpoint)
        with pytest.raises(KeyboardInterrupt):
            experiments.run(config, progress=False)
    return paths.runs_folder() / experiments.run_key(config)


@pytest.mark.parametrize("method", ["bso", "ste", "t-bso"])
def test_resume_is_exact_for_each_optimizer(method, cache, tmp_path, monkeypatch):
    config = replace(TINY, method=method, epochs=2)
    interrupt_after(config, 1, monkeypatch)
    experiments.run(config, progress=False)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "whole"))
    experiments.run(config, progress=False)
    assert_same(outcome(config, cache), outcome(config, tmp_path / "whole"))


@pytest.mark.parametrize(("method", "layers"), [("t-bso", 7), ("ste", 7), ("fp", 0)])
def test_flips_are_recorded_stored_and_resumed(method, layers, cache, tmp_path, monkeypatch):
    config = replace(TINY, method=method, latent_lr=10.0)
    interrupt_after(config, 1, monkeypatch)
    result = experiments.run(config, progress=False)
    again = experiments.run(config, progress=False)
    if not layers:
        assert result.flips is None
        return
    assert list(result.flips.layers["layer"]) == list(range(2, 9))
    epochs = result.flips.epochs
    assert len(epochs) == layers * config.epochs
    assert set(epochs["updates"]) == {300 // 50 * config.time_steps}
    assert 0 < epochs["flips"].sum() == result.flips.layers["flips"].sum()
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "whole"))
    whole = experiments.run(config, progress=False)
    assert result.flips.to_dict() == again.flips.to_dict() == whole.flips.to_dict()


def test_recording_changes_nothing_else(cache):
    config = replace(TINY, epochs=1)
    experiments.run(config, progress=False)
    unrecorded = experiments.run(replace(config, record_flips=False), progress=False)
    assert unrecorded.flips is None
    assert_same(outcome(config, cache), outcome(replace(config, record_flips=False), cache))


def test_snapshots_are_the_weights_of_their_epoch(cache):
    config = replace(TINY, epochs=2, snapshot_every=1)
    result = experiments.run(config, progress=False)
    torch.manual_seed(config.seed)
    untrained = build_model(config, 10, 1)
    torch.testing.assert_close(result.load_model(0).state_dict(), untrained.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(result.load_model(2).state_dict(), result.load_model().state_dict(), rtol=0, atol=0)
    before, after = (split_parameters(result.load_model(epoch))[0] for epoch in (0, 1))
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    with pytest.raises(ValueError, match="no weights of epoch 3: the run has snapshot_every=1"):
        result.load_model(3)


def test_a_dry_run_takes_a_few_steps_on_random_data_and_leaves_no_result(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "checkout", lambda: tmp_path)
    monkeypatch.setenv("DRY_RUN", "1")
    config = RunConfig(dataset="cifar100", width=1 / 16, time_steps=3, seed=4, device="cpu")
    result = experiments.run(config, progress=False)  # no CIFAR here: it needs no files
    assert (len(result.history), result.config.time_steps, result.provenance["num_classes"]) == (2, 3, 100)
    assert not cache.exists()
    assert paths.figures_folder("paper") != tmp_path / "figures" / "paper"
    monkeypatch.delenv("DRY_RUN")
    assert experiments.run_key(config) != result.folder.name


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty"])
def test_a_damaged_checkpoint_is_reported_and_the_last_good_one_serves(damage, cache, tmp_path, monkeypatch):
    folder = interrupt_after(TINY, 2, monkeypatch)
    last = folder / "checkpoint-0002.pt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"cut short": content[:-100], "one bit": bytes(content), "empty": b""}[damage])
    with pytest.warns(UserWarning, match=r"checkpoint-0002.pt is damaged.*falling back to the one before"):
        experiments.run(TINY, progress=False)
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "whole"))
    experiments.run(TINY, progress=False)
    assert_same(outcome(TINY, cache), outcome(TINY, tmp_path / "whole"))


def test_damaged_results_are_reported_and_computed_again(cache):
    config = replace(TINY, epochs=1)
    folder = experiments.run(config, progress=False).folder
    before = outcome(config, cache)
    (folder / "weights.safetensors").write_bytes(b"x")
    with pytest.warns(UserWarning, match="is damaged .* computed again"):
        experiments.run(config, progress=False)
    (folder / "result.json").write_text("{")
    with pytest.warns(UserWarning, match="is damaged"):
        experiments.run(config, progress=False)
    assert_same(before, outcome(config, cache))


def test_two_processes_do_a_run_once(tmp_path):
    config = replace(TINY, epochs=2)
    first = start(config, tmp_path)
    folder = tmp_path / experiments.run_key(config)
    wait_for(lambda: list(folder.glob("checkpoint-*")), first)
    second = start(config, tmp_path)
    assert first.wait(600) == 0
    written = (folder / "result.json").stat().st_mtime_ns
    assert second.wait(600) == 0
    assert (folder / "result.json").stat().st_mtime_ns == written


def test_divergence_is_an_error_not_a_result(cache, monkeypatch):
    monkeypatch.setattr(Job, "train_epoch", lambda *_: {"train_loss": float("nan"), "train_accuracy": 0.0})
    with pytest.raises(ArithmeticError, match="training diverged in epoch 1"):
        experiments.run(TINY, progress=False)
    assert not list(cache.rglob("result.json"))


def test_optimizers_follow_the_config():
    def optimizers(**changes):
        config = replace(TINY, **changes)
        return build_optimizers(config, build_model(config, 10, 1), 10)

    (sgd, flips), schedulers = optimizers(method="bso", gamma=0.5, beta1=0.25)
    assert isinstance(flips, BSO)
    assert (flips.param_groups[0]["gamma"], flips.param_groups[0]["beta"]) == (0.5, 0.25)
    assert isinstance(optimizers(training="online")[0][1], TBSO)
    assert optimizers(training="online")[0][1].time_steps == 2
    assert optimizers(training="accumulated")[0][1].time_steps == 1
    (sgd,), _ = optimizers(method="ste", latent_lr=7.0, momentum=0.5)
    assert [group["lr"] for group in sgd.param_groups] == [TINY.lr, 7.0]
    assert len(schedulers) == 2
    assert [(group["momentum"], group["weight_decay"]) for group in sgd.param_groups] == [(0.5, 0), (0.5, 0)]
    (sgd,), _ = optimizers(method="ste", momentum=0.5, latent_momentum=0.0, latent_decay=0.25)
    assert [(group["momentum"], group["weight_decay"]) for group in sgd.param_groups] == [(0.5, 0), (0.0, 0.25)]


def test_the_cosine_reaches_the_real_valued_parameters_and_ends_at_zero():
    config = replace(TINY, schedule="constant")
    optimizers, schedulers = build_optimizers(config, build_model(config, 10, 1), 10)
    rates = []
    for _ in range(30):
        rates.append([o.param_groups[0]["lr"] for o in optimizers])
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step(**({"t": 0} if isinstance(optimizer, TBSO) else {}))
            scheduler.step()
    assert rates[0] == [TINY.lr, 1.0]
    assert rates[15][0] == pytest.approx(TINY.lr / 2)
    assert optimizers[0].param_groups[0]["lr"] == pytest.approx(0)
    assert rates[-1][1] == 1.0


def test_validation_images_come_from_the_training_set_and_are_not_trained_on():
    train, held_out = experiments.load_splits(replace(TINY, evaluate_on="validation", train_size=None))
    whole, _ = load_dataset("fashion-mini")
    assert (len(train), len(held_out)) == (9000, 1000)
    rows = {bytes(image.numpy().tobytes()) for image in train.images}
    assert not any(image.numpy().tobytes() in rows for image in held_out.images)
    assert torch.equal(torch.cat([train.labels, held_out.labels]).bincount(), whole.labels.bincount())


def test_the_key_follows_config_code_and_machine(monkeypatch):
    key = experiments.run_key(TINY)
    assert key == experiments.run_key(replace(TINY, device="auto" if not torch.cuda.is_available() else "cpu"))
    assert key != experiments.run_key(replace(TINY, gamma=1e-6))
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "_CODE", "other code")
        assert key != experiments.run_key(TINY)
    for name in ("processor", "get_num_threads", "get_cpu_capability"):
        owner = {"get_num_threads": torch, "get_cpu_capability": torch.backends.cpu}.get(name, machine)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda: "another")
            assert key != experiments.run_key(TINY)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert key != experiments.run_key(TINY)


def test_two_thread_counts_do_not_share_a_run(cache):
    config, threads = replace(TINY, epochs=1), torch.get_num_threads()
    found = []
    for count in (1, 2, 1):
        torch.set_num_threads(count)
        try:
            found.append(experiments.run(config, progress=False))
        finally:
            torch.set_num_threads(threads)
    assert found[0].folder == found[2].folder != found[1].folder
    assert [r.provenance["machine"]["threads"] for r in found] == ["1", "2", "1"]


def test_results_lie_in_the_checkout(monkeypatch):
    monkeypatch.delenv("BSO_CACHE", raising=False)
    monkeypatch.delenv("BSO_FIGURES", raising=False)
    root = Path(__file__).parents[2]
    assert paths.runs_folder() == root / "build" / "runs"
    assert paths.figures_folder("laptop") == root / "figures" / "laptop"


def test_a_checkpoint_holds_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch hacked",))

    path = tmp_path / "c.pt"
    save_checkpoint(path, {"x": Evil()})
    with pytest.raises(Exception, match="Weights only load failed"):
        load_checkpoint(path)
    save_checkpoint(path, {"x": torch.arange(3), "n": [1, 2.5, "a"]})
    assert load_checkpoint(path)["n"] == [1, 2.5, "a"]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DamagedCheckpoint, match="does not match its checksum"):
        load_checkpoint(path)


def test_all_test_images_are_scored_last_and_fewer_before(cache, monkeypatch):
    """fashion-mini: 2,000 between epochs and for a run on a part of the training images, all 10,000 in the end."""
    seen = []

    def score(job, split):
        seen.append((len(split), split.labels.bincount().tolist()))
        return 50.0

    monkeypatch.setattr(Job, "accuracy", score)
    monkeypatch.setattr(Job, "train_epoch", lambda *_: {"train_loss": 1.0, "train_accuracy": 50.0})
    whole = replace(TINY, train_size=None, epochs=3)
    experiments.run(whole, progress=False)
    assert seen == [(2_000, [200] * 10)] * 2 + [(10_000, [1_000] * 10)]
    seen.clear()
    experiments.run(replace(whole, train_size=1000), progress=False)
    experiments.run(replace(whole, evaluate_on="validation", epochs=1), progress=False)
    assert seen == [(2_000, [200] * 10)] * 3 + [(1_000, [100] * 10)]
    assert len(experiments.load_splits(replace(whole, train_size=1000))[1]) == 2_000
