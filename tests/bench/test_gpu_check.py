"""Every way through ``make gpu-check`` but the kernels, on the CPU; what fails is a line, the others go on."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from bso_lib.bench import gpu_check
from bso_lib.bench.gpu_check import CHECKS, SCALES, check_all, hold, main, outcome, report, run_check
from bso_lib.bench.rivals import GRAPHED
from bso_lib.data import stored

TITLES = [title for title, *_ in CHECKS.values()]


@pytest.mark.parametrize("name", ["memory", "benchmark", "runs"])
def test_every_part_holds_on_the_cpu(name):
    outcomes = [outcome(*pair) for pair in CHECKS[name][1]("cpu", SCALES["tiny"])]
    assert len(outcomes) == {"memory": 4, "benchmark": 6, "runs": 2}[name]
    assert [line for ok, line in outcomes if not ok] == []
    if name == "runs":
        assert re.search(r"SHA-256 [0-9a-f]{64} on both", outcomes[0][1])
        assert len(re.findall(r"cpu: accuracy \d+\.\d\d %", outcomes[1][1])) == 2


def test_the_command_runs_a_check_in_a_process_of_its_own_and_reports_it(tmp_path):
    out = tmp_path / "new" / "report.md"
    assert check_all("cpu", "tiny", out, {"tests": CHECKS["tests"]})
    told = out.read_text()
    assert re.search(r"## The CUDA tests\n\n- tests/test_cuda.py: \d+ passed, \d+ skipped\n- \d+ seconds\n", told)
    assert torch.__version__ in told
    assert "no GPU" in told
    assert told.endswith("## What failed\n\nNothing.\n")


def test_a_check_that_fails_is_reported_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    answers = iter([[(True, "a: fine"), (False, "b: RuntimeError: out of memory")], [], [(True, "c")], [(True, "d")]])
    monkeypatch.setattr(gpu_check, "run_check", lambda command, seconds: next(answers))
    out = tmp_path / "report.md"
    assert main(["--device", "cpu", "--out", str(out)]) == 1
    told = out.read_text()
    assert re.findall(r"^## (.*)$", told, re.M) == ["Device and versions", *TITLES, "What failed"]
    assert told.endswith(
        f"## What failed\n\n- {TITLES[0]}: b: RuntimeError: out of memory\n- {TITLES[1]}: it found nothing\n"
    )
    assert told in capsys.readouterr().out


def test_a_part_that_fails_is_a_line_and_the_next_part_runs(monkeypatch, capsys):
    def parts(device, scale):
        yield "raises", lambda: 1 / 0
        yield "disagrees", lambda: hold(False, "1 MB counted, 2 MB allocated")
        yield "two lines", lambda: torch.zeros(2) @ torch.zeros(3)
        yield "prints", lambda: print("noise") or f"on {device}"

    monkeypatch.setitem(CHECKS, "memory", ("", parts, 1))
    assert main(["--check", "memory", "--device", "cpu"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [ok for ok, _ in found] == [False, False, False, True]
    lines = [line for _, line in found]
    assert lines[0] == "raises: ZeroDivisionError: division by zero"
    assert lines[1] == "disagrees: 1 MB counted, 2 MB allocated"
    assert lines[2].startswith("two lines: RuntimeError: ")
    assert lines[3] == "prints: on cpu"
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize(
    ("device", "reported", "expected"),
    [
        ("cuda", [("setup", "passed"), ("call", "passed")], (True, "1 passed, 0 skipped")),
        ("cpu", [("setup", "skipped")], (True, "0 passed, 1 skipped")),
        ("cuda", [("setup", "skipped")], (False, "0 passed, 1 skipped")),
        ("cuda", [("call", "failed")], (False, "0 passed, 0 skipped, failed: test_a")),
        ("cuda", [("setup", "failed")], (False, "0 passed, 0 skipped, failed: test_a")),
        ("cuda", [], (False, "pytest ended with status 5")),
    ],
)
def test_tests_that_are_skipped_on_a_gpu_have_not_passed(device, reported, expected, monkeypatch):
    def run(command, plugins):
        for when, result in reported:
            report = SimpleNamespace(when=when, outcome=result, passed=result == "passed", nodeid="tests/a.py::test_a")
            plugins[0].pytest_runtest_logreport(report)
        return 5 if not reported else int(reported[-1][1] == "failed")

    monkeypatch.setattr(pytest, "main", run)
    ((title, part),) = CHECKS["tests"][1](device, SCALES["tiny"])
    assert outcome(title, part) == (expected[0], f"tests/test_cuda.py: {expected[1]}")


def test_the_runs_must_agree_to_the_bit(monkeypatch):
    def run(config, progress):
        history = pd.DataFrame({"train_loss": [2.0, 1.0], "accuracy": [10.0, losses.pop()]})
        return SimpleNamespace(checksum=checksums.pop(), history=history)

    monkeypatch.setattr(gpu_check.experiments, "run", run)
    part = next(CHECKS["runs"][1]("cuda", SCALES["tiny"]))
    monkeypatch.setattr(gpu_check, "replace", lambda config, **changes: config)  # "cuda" is refused here
    checksums, losses = ["b", "a"], [20.0, 20.0]
    assert outcome(*part) == (False, f"{part[0]}: SHA-256 on the CPU a, on cuda b")
    checksums, losses = ["a", "a"], [20.0, 30.0]
    assert outcome(*part) == (False, f"{part[0]}: SHA-256 a on both, but another loss or accuracy in an epoch")


def test_a_gpu_also_replays_a_graph():
    on_cpu, on_gpu = (
        [title for title, _ in CHECKS["benchmark"][1](where, SCALES["full"])] for where in ("cpu", "cuda")
    )
    assert on_gpu == [*on_cpu, GRAPHED]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("sys.exit('no driver')", "its process ended with status 1: no driver"),
        ("os.kill(os.getpid(), 9)", "its process ended with status -9: it said nothing"),
        ("print('[true, ', end='', flush=True); time.sleep(600)", "not done after 3 seconds"),
    ],
)
def test_a_process_that_dies_or_hangs_leaves_what_it_found(end, told):
    code = f"import os, sys, time; print('[true, \"first\"]', flush=True); {end}"
    assert run_check([sys.executable, "-c", code], 3) == [(True, "first"), (False, told)]


def test_the_report_is_whole_or_the_old_one(tmp_path, monkeypatch):
    out = tmp_path / "report.md"
    out.write_text("the old one")
    monkeypatch.setattr(gpu_check, "run_check", lambda command, seconds: [(True, "fine")])

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(stored.os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        check_all("cpu", "tiny", out)
    assert out.read_text() == "the old one"


def test_what_was_not_reached_counts_as_failed(tmp_path, monkeypatch):
    def interrupt(command, seconds):
        if "memory" in command:
            raise KeyboardInterrupt
        return [(True, "fine")]

    monkeypatch.setattr(gpu_check, "run_check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        check_all("cpu", "tiny", tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text().endswith("".join(f"- {title}: not run\n" for title in TITLES[1:]))


def test_without_cuda_it_says_so_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--out", str(tmp_path / "report.md")]) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("no CUDA device here")
    assert all(title in line for title in TITLES)
    assert not list(tmp_path.iterdir())


def test_a_gpu_is_asked_for_what_it_is(monkeypatch):
    properties = type("Properties", (), {"total_memory": 80 * 2**30})
    for name, value in {
        "get_device_name": "A GPU", "get_device_capability": (9, 0), "get_device_properties": properties,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    told = gpu_check.machine("cuda")
    assert told.startswith("A GPU, 80 GiB, capability 9.0, driver ")
    assert f"CUDA {torch.version.cuda}" in told


def test_it_takes_five_minutes_at_most_and_make_knows_it():
    assert sum(seconds for *_, seconds in CHECKS.values()) <= 300 - 10
    assert SCALES["full"].patience == 1
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert re.search(r"^gpu-check: env ## .*\n\t\$\(RUN\) -m bso_lib.bench.gpu_check\n", makefile, re.M)
    assert report({"A": [(False, "b")]}, "cuda") == "# What a GPU has to show\n\n## A\n\n- **failed** b\n\n" + (
        "## What failed\n\n- A: b\n"
    )
