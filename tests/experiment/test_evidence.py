"""Evidence: found by what was asked, the same to the last digit, refused when damaged, and never needed."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest

from bso_lib.experiment import evidence
from bso_lib.experiment import run as experiments
from bso_lib.experiment.config import RunConfig
from bso_lib.experiment.evidence import DamagedEvidence, asked, evidence_key, find, keep
from bso_lib.experiment.result import RunResult
from bso_lib.experiment.run import run

TINY = RunConfig(
    train_size=100, width=1 / 32, batch_norm="per-step", time_steps=2, epochs=2, batch_size=50, arithmetic="exact",
    gamma=1 / 3e6, seed=3, device="cpu",
)  # fmt: skip
PROVENANCE = {"device": "cpu, 1 threads", "seconds": 1.5, "num_classes": 10, "in_channels": 1}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Give this test an empty folder of evidence and an empty cache."""
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BSO_EVIDENCE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def made_up(config=TINY, accuracy=0.1 + 0.2, **changes):
    """Return a result that nothing computed, with digits that only an exact round trip keeps."""
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [1 / 3, 2.0], "accuracy": [100 / 7, accuracy]})
    settings = {"folder": None, "kept_checksum": "ab" * 32} | changes
    return RunResult(config, history, PROVENANCE, **settings)


def only_file(folder):
    (path,) = folder.glob("*.jsonl")
    return path


def test_a_run_that_was_kept_is_read_and_not_computed(kept, monkeypatch):
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    computed = run(TINY, progress=False)
    monkeypatch.delenv("BSO_KEEP_EVIDENCE")
    monkeypatch.setattr(experiments, "_computed", lambda *_: pytest.fail("computed"))
    read = run(TINY, progress=False)
    assert (computed.origin, read.origin, read.folder) == ("computed", "evidence", None)
    pd.testing.assert_frame_equal(read.history, computed.history, check_exact=True)
    assert read.flips.to_dict() == computed.flips.to_dict()
    for name in ("epochs", "layers", "gaps"):
        pd.testing.assert_frame_equal(getattr(read.flips, name), getattr(computed.flips, name), check_exact=True)
    assert (read.checksum, read.accuracy) == (computed.checksum, computed.accuracy)
    assert read.provenance == computed.provenance
    assert {"device", "machine", "torch", "python", "seconds", "code", "commit", "date"} <= set(read.provenance)
    assert read.config == TINY


def test_recompute_passes_the_evidence_by(kept, monkeypatch):
    keep(made_up())
    assert run(TINY).checksum == "ab" * 32
    computed = run(TINY, progress=False, recompute=True)
    assert computed.origin == "computed"
    assert computed.checksum != "ab" * 32
    assert run(TINY).checksum == "ab" * 32  # and writes nothing unasked
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    run(TINY, progress=False, recompute=True)
    assert run(TINY).checksum == computed.checksum


def test_a_phase_goes_on_from_a_computed_run_and_networks_are_computed_when_asked_for(kept, capsys):
    first = replace(TINY, epochs=1)
    keep(made_up(first))
    second = run(replace(first, start_from=first), progress=False)
    assert second.origin == "computed"
    with pytest.warns(UserWarning, match="the network computed here is another than the evidence tells of"):
        model = run(first).load_model()
    assert "the evidence keeps no network of this run: it is computed, in about 2 s" in capsys.readouterr().err
    direct = run(first, progress=False, recompute=True).load_model()
    assert all(bool((a == b).all()) for a, b in zip(model.parameters(), direct.parameters(), strict=True))


def test_what_was_asked_leaves_defaults_and_device_out():
    assert asked(RunConfig(seed=0, device="cpu", width=1, method="t-bso")) == {}
    phases = RunConfig(start_from=RunConfig(time_steps=1, device="cpu"), augment=("flip",), gamma=1)
    assert asked(phases) == {"start_from": {"time_steps": 1}, "augment": ["flip"], "gamma": 1.0}
    assert RunConfig(**json.loads(json.dumps(asked(phases)))) == replace(
        phases, start_from=RunConfig(time_steps=1), gamma=1.0
    )


def test_the_key_follows_what_was_asked_and_the_data(monkeypatch):
    key = evidence_key(TINY)
    assert len(key) == 16
    assert key == evidence_key(replace(TINY, device="auto")) == evidence_key(replace(TINY, width=0.03125))
    others = [replace(TINY, seed=4), replace(TINY, gamma=0), replace(TINY, dataset="spoken-mini"), RunConfig()]
    assert len({key, *map(evidence_key, others)}) == 5
    assert evidence_key(replace(TINY, gamma=0)) == evidence_key(replace(TINY, gamma=0.0))
    monkeypatch.setattr(evidence, "data_checksum", lambda name: "of other images")
    assert evidence_key(TINY) != key


def test_data_sets_that_come_with_the_library_have_a_checksum():
    sums = {name: evidence.data_checksum(name) for name in ("fashion-mini", "spoken-mini", "fashion-events")}
    assert all(len(digest) == 64 for digest in sums.values())
    assert len(set(sums.values())) == 3
    assert evidence.data_checksum("cifar10") is None


def test_the_defaults_that_entries_leave_out_are_these():
    """A default that changes turns what all kept entries asked: compute them anew (``make evening``) if this fails."""
    told = {field.name: field.default for field in fields(RunConfig)}
    assert told.items() >= {
        "method": "t-bso", "training": "online", "trace": "ottt", "dataset": "fashion-mini", "train_size": None,
        "evaluate_on": "test", "augment": (), "model": "vgg11", "width": 1.0, "batch_norm": "shared", "time_steps": 2,
        "epochs": 400, "batch_size": 128, "lr": 0.1, "momentum": 0.0, "real_schedule": "cosine", "latent_lr": 0.1,
        "latent_momentum": None, "latent_decay": 0.0,
        "ste_clip": True, "gamma": 5e-7, "beta1": 0.999, "beta2": 0.99999, "eps": 1e-20, "schedule": "constant",
        "step_epochs": 50, "start": "grid", "eps_place": "inside", "sign_of_zero": "keep", "mse_weight": 0.0,
        "precision": "float32", "arithmetic": "float32", "packed": "no", "record_flips": True, "snapshot_every": 0,
        "start_from": None, "start_momentum": "keep", "seed": 0, "graphed": False,
    }.items()  # fmt: skip


def test_an_entry_is_replaced_by_another_outcome_and_stays_as_it_is_for_the_same(kept):
    keep(made_up())
    keep(made_up(replace(TINY, seed=1)))
    before = only_file(kept).read_bytes()
    later = made_up()
    later.provenance.update(seconds=99.0)
    try:
        keep(later)
    finally:
        later.provenance.update(seconds=1.5)
    assert only_file(kept).read_bytes() == before
    keep(made_up(accuracy=50.0))
    assert find(TINY).accuracy == 50.0
    assert find(replace(TINY, seed=1)).accuracy == 0.1 + 0.2
    lines = only_file(kept).read_text().splitlines()
    assert len(lines) == 2
    assert lines == sorted(lines)
    keep(replace(find(TINY), config=replace(TINY, seed=9)))  # evidence makes no evidence
    assert find(replace(TINY, seed=9)) is None


def forge(kept, change, resign=False):
    """Change the one entry there is; ``resign``: give it a sha256 that fits again."""
    path = only_file(kept)
    entry = json.loads(path.read_text())
    change(entry)
    if resign:
        del entry["sha256"]
        entry["sha256"] = evidence._digest(entry)
    path.write_text(json.dumps(entry, separators=(",", ":")) + "\n")


@pytest.mark.parametrize(
    ("change", "resign", "why"),
    [
        (lambda e: e["history"]["accuracy"].__setitem__(1, 99.0), False, "its content does not match its sha256"),
        (lambda e: e["provenance"].update(device="cuda"), False, "its content does not match its sha256"),
        (lambda e: e["config"].update(seed=4), True, "its config is another than its key says"),
        (lambda e: e.update(data="ff" * 32), True, "its config is another than its key says"),
        (lambda e: e.pop("sha256"), False, "it cannot be read"),
        (lambda e: e.update(config=[]), True, "it cannot be read"),
        (lambda e: e.pop("flips"), True, "it has not the fields of an entry, checksum, config,"),
    ],
)
def test_an_entry_that_was_changed_is_refused_in_one_line(change, resign, why, kept):
    keep(made_up())
    forge(kept, change, resign)
    with pytest.raises(DamagedEvidence) as refused:
        run(TINY)
    message = str(refused.value)
    assert message.startswith(f"{only_file(kept)}, entry {evidence_key(TINY)}: {why}")
    assert "\n" not in message
    assert find(replace(TINY, seed=5)) is None  # the others can be asked for
    keep(made_up())  # and a run computed anew takes its place
    assert find(TINY).accuracy == 0.1 + 0.2


def test_an_entry_in_another_file_is_refused(kept):
    keep(made_up())
    foreign = kept / "fashion-mini-bso.jsonl"
    bso = replace(TINY, method="bso")
    line = only_file(kept).read_text().replace(evidence_key(TINY), evidence_key(bso))
    foreign.write_text(line)
    with pytest.raises(DamagedEvidence, match=f"fashion-mini-bso.jsonl, entry {evidence_key(bso)}: its content"):
        find(bso)
    keep(made_up(bso, accuracy=1.0))
    shutil.copy(foreign, kept / "fashion-mini-t-bso.jsonl")
    forge_key = json.loads(foreign.read_text())["key"]
    with pytest.raises(DamagedEvidence, match=rf"entry {forge_key}: it belongs in fashion-mini-bso.jsonl"):
        evidence._checked(kept / "fashion-mini-t-bso.jsonl", forge_key, foreign.read_text())


@pytest.mark.parametrize("line", ["<<<<<<< HEAD", "", '{"key":"short"}', "\x00"])
def test_a_line_that_is_no_entry_is_refused_by_number(line, kept):
    keep(made_up())
    path = only_file(kept)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DamagedEvidence, match=r"t-bso.jsonl, line 2, .*, is no entry of the evidence"):
        find(TINY)
    path.write_text(path.read_text().splitlines()[0] + "\n" + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DamagedEvidence, match=r"line 2, .* is there twice"):
        find(TINY)


def test_a_file_cut_short_is_refused(kept):
    keep(made_up())
    path = only_file(kept)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DamagedEvidence, match="it cannot be read"):
        find(TINY)


def _keep_some(seeds):
    for seed in seeds:
        keep(made_up(replace(TINY, seed=seed), accuracy=float(seed)))


def test_two_processes_that_add_at_once_lose_nothing(kept):
    context = multiprocessing.get_context("fork")
    adding = [context.Process(target=_keep_some, args=(range(start, 60, 2),)) for start in (0, 1)]
    for process in adding:
        process.start()
    for process in adding:
        process.join()
    assert [find(replace(TINY, seed=seed)).accuracy for seed in range(60)] == [float(s) for s in range(60)]


def test_without_a_folder_all_is_computed_and_nothing_kept(kept, monkeypatch):
    keep(made_up())
    monkeypatch.setenv("BSO_EVIDENCE", "")
    assert find(TINY) is None
    with pytest.raises(ValueError, match="there is no folder to keep evidence in: name one, BSO_EVIDENCE=FOLDER"):
        keep(made_up())
    monkeypatch.delenv("BSO_EVIDENCE")
    assert evidence.folder() == Path(__file__).parents[2] / "notebooks" / "evidence" / "runs"
    monkeypatch.setattr(evidence, "checkout", lambda: None)  # installed, not cloned
    assert evidence.folder() is None
    assert find(TINY) is None


def test_a_dry_run_neither_reads_nor_writes(kept, monkeypatch):
    keep(made_up())
    before = only_file(kept).read_bytes()
    monkeypatch.setenv("DRY_RUN", "1")
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "1")
    assert run(TINY, progress=False).origin == "computed"
    assert find(TINY) is None
    assert only_file(kept).read_bytes() == before


def test_a_wrong_switch_is_refused(kept, monkeypatch):
    monkeypatch.setenv("BSO_KEEP_EVIDENCE", "yes")
    with pytest.raises(ValueError, match="BSO_KEEP_EVIDENCE='yes': must be 0 or 1"):
        run(TINY)


def test_the_command_computes(kept):
    keep(made_up())
    command = [sys.executable, "-m", "bso_lib"]
    for name, value in asked(TINY).items():
        command += ["--set", f"{name}={value}"]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((kept.parent / "cache").glob("*/result.json"))) == 1
