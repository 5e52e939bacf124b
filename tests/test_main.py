"""python -m bso_lib: reads its configuration, says in one line what is wrong or what came out."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from bso_lib.__main__ import read_config
from bso_lib.config import RunConfig


def command(*arguments, cache):
    return subprocess.run(
        [sys.executable, "-m", "bso_lib", *arguments],
        env={**os.environ, "BSO_CACHE": str(cache)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


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


def test_the_command_prints_one_line_and_no_traceback(tmp_path):
    wrong = command("--set", "epochs=0", cache=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "bso_lib: RunConfig.epochs=0: must be a whole number, at least 1\n"
    settings = ("method=bso", "epochs=1", "train_size=20", "width=0.02", "batch_size=10", "device=cpu")
    right = command(*(word for pair in settings for word in ("--set", pair)), cache=tmp_path)
    assert right.returncode == 0, right.stderr
    (line,) = right.stdout.splitlines()
    stored = json.loads(next(tmp_path.glob("*/result.json")).read_text())
    assert line.startswith(f"bso, online: {stored['history'][0]['accuracy']:.2f} % accuracy, fashion-mini (20 images)")
    assert " in 1 process on " in line
