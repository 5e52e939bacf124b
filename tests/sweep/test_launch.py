"""Processes started from Python: the command shown does the same, and failures say why."""

import os
from dataclasses import replace

import pytest

from bso_lib.experiment.command import read_config
from bso_lib.experiment.config import RunConfig
from bso_lib.sweep.launch import launch, settings, shell_command, start

TINY = RunConfig(
    method="bso", train_size=40, width=1 / 32, epochs=1, batch_size=20, augment=("crop", "flip"), device="cpu"
)


def test_settings_are_what_the_command_reads():
    arguments = settings(TINY)
    assert arguments[::2] == ["--set"] * (len(arguments) // 2)
    assert read_config(None, arguments[1::2]) == TINY
    assert settings(RunConfig()) == []


def test_two_processes_do_a_run_that_is_then_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path / "mine"))
    launched = launch(TINY, 2, tmp_path / "other")
    assert launched.command.startswith("torchrun --nproc_per_node=2 -m bso_lib --set method=bso ")
    assert f"{launched.result.accuracy:.2f} % accuracy" in launched.output
    assert len(launched.output.splitlines()) == 1  # rank 0's
    assert launched.result.provenance["processes"] == 2
    assert launched.result.folder.parent == tmp_path / "other"
    threads = max(1, (os.cpu_count() or 1) // 2)  # of each process
    assert launched.result.provenance["machine"]["threads"] == str(threads)
    assert os.environ["BSO_CACHE"] == str(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_failure_names_the_command_and_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("BSO_DATA", str(tmp_path))
    message = r"^python -m bso_lib .*dataset=cifar10.* failed: bso_lib: cifar10 not found or damaged: "
    with pytest.raises(RuntimeError, match=message):
        launch(replace(TINY, dataset="cifar10"), 1, tmp_path)
    for processes in (1, 2):  # torchrun writes its own account behind it
        with pytest.raises(RuntimeError, match=r"--weights x failed: .*error: argument --weights: invalid int value"):
            start("bso_lib.measure.communication", ["--weights", "x"], processes)
    with pytest.raises(ValueError, match=r"^processes=0: must be at least 1$"):
        start("bso_lib", [], 0)


def test_one_process_needs_no_torchrun():
    assert shell_command("bso_lib", ["--set", "augment=crop,flip"], 1) == "python -m bso_lib --set augment=crop,flip"
