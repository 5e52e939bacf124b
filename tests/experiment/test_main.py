"""python -m bso_lib: reads its configuration, says in one line what is wrong or what came out."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest

from bso_lib.experiment import command
from bso_lib.experiment.command import main, read_config
from bso_lib.experiment.config import RunConfig


def test_settings_come_from_a_file_and_from_the_command_line(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"method": "bso", "epochs": 7, "augment": ["crop"]}))
    config = read_config(str(path), ["epochs=3", "width=0.125", "train_size=None", "augment=crop,flip", "seed=2"])
    expected = RunConfig(method="bso", epochs=3, width=0.125, train_size=None, augment=("crop", "flip"), seed=2)
    assert config == expected
    path.write_text(json.dumps(asdict(expected)))
    assert read_config(str(path), []) == expected
    assert read_config(None, ["augment="]).augment == ()
    assert read_config(None, ["augment=['flip']", "ste_clip=False"]) == RunConfig(augment=("flip",), ste_clip=False)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["epochs"], "--set epochs: must be field=value"),
        (["epoch=3"], "RunConfig has no field 'epoch'; it has method, "),
        (["epochs=0"], "RunConfig.epochs=0: must be a whole number, at least 1"),
        (["method=adam"], "RunConfig.method='adam': must be one of fp, ste, bso, t-bso"),
    ],
)
def test_wrong_settings_are_named(pairs, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        read_config(None, pairs)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("content", ["{", "[1]", None])
def test_an_unreadable_file_is_named(content, tmp_path):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"^--config .*run.json: "):
        read_config(str(path), [])


def test_the_command_prints_one_line(tmp_path):
    settings = ("method=bso", "epochs=1", "train_size=20", "width=0.02", "batch_size=10", "device=cpu")
    process = subprocess.run(
        [sys.executable, "-m", "bso_lib", *(word for pair in settings for word in ("--set", pair))],
        env={**os.environ, "BSO_CACHE": str(tmp_path)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    (line,) = process.stdout.splitlines()
    stored = json.loads(next(tmp_path.glob("*/result.json")).read_text())
    assert line.startswith(f"bso, online: {stored['history'][0]['accuracy']:.2f} % accuracy, fashion-mini (20 images)")
    assert " in 1 process on " in line


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        ("epochs=0", "bso_lib: RunConfig.epochs=0: must be a whole number, at least 1\n"),
        ("dataset=cifar10", "bso_lib: cifar10 not found or damaged: "),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(pair, line, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BSO_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bso_lib", "--set", pair, "--root", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(line)
    assert len(output.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("environment", "status", "written"), [({}, -signal.SIGABRT, ""), ({"WORLD_SIZE": "2"}, 3, "line\n")]
)
def test_one_of_several_processes_leaves_at_once_after_an_error(environment, status, written):
    code = "import atexit, os, bso_lib.terminal.refusals as r; atexit.register(os.abort); print('line'); r.leave(3)"
    left = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONUNBUFFERED": "", **environment}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert (left.returncode, left.stdout) == (status, written)


def test_another_process_than_the_first_says_what_is_wrong_with_it_alone(monkeypatch, capsys):
    waited = []
    monkeypatch.setattr(command.time, "sleep", waited.append)
    monkeypatch.setattr(sys, "argv", ["bso_lib", "--set", "method=bsoo"])
    for rank, patience in (("0", []), ("1", [command.PATIENCE])):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit, match="2"):
            main()
        assert capsys.readouterr().err.startswith("bso_lib: RunConfig.method='bsoo'")
        assert waited == patience
